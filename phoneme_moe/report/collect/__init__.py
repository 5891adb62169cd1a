"""Collection of the routing of every row of a split, in memory and on disk."""
