"""Transcripts and alignments as files."""
