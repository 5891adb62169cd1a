"""What is behind a cell of the report, to be heard."""
