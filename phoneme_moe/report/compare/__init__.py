"""Comparison of two runs: matching of experts, agreement of routing, errors."""
