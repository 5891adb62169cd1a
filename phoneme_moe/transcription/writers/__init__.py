"""Writers of the formats of transcripts and alignments (``transcription.formats``)."""
