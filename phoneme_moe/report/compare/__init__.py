"""Two runs beside each other: experts matched, routing and errors compared."""
