"""The routing of every row of a split: observed, in memory, and as a table on disk."""
