"""A run as a web page that recognises phonemes in the browser."""
