"""The built-in corpus: synthetic announcers who speak Japanese words."""
