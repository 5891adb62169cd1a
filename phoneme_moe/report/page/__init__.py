"""The report as one HTML file made from the document, and as a figure for papers."""
