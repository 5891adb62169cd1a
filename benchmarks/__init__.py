"""What is measured against what.

Each module prints a table and keeps its figures as JSON; ``benchmarks.page`` writes
docs/benchmarks.md from them.
"""
