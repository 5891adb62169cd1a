"""Sparse layers: routers, selection, balancing, and experts that compute only their own frames."""
