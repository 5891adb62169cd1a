"""Audio files to transcripts."""
