"""Transcription of audio files."""
