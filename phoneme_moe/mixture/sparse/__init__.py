"""Sparse layers: routers, selection, load balancing, and experts that compute only their frames."""
