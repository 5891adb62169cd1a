"""Files: written whole or not at all, read within bounds; nothing in them is ever run."""
