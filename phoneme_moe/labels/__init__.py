"""Label files beside recordings: TextGrids, HTK labels and plain text."""
