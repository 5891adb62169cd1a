"""The built-in corpus of synthetic announcers reading Japanese words."""
