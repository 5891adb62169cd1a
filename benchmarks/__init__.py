"""What is measured against what; each module prints a table, keeps its figures as JSON, and
``benchmarks.page`` writes docs/benchmarks.md from them.
"""
