"""From a model and a split to who was asked in every row, in memory and as a table on disk."""
