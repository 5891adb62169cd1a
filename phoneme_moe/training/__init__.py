"""Data, stages and the run folder they fill."""
