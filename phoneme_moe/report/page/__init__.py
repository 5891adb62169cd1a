"""The report drawn: one HTML file from the document alone, and a picture for papers."""
