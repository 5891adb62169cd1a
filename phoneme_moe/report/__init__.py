"""What the gate did over a whole split: statistics, heat map, page, data files, terminal table."""
