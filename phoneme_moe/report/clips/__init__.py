"""Clips: the spoken phonemes behind a cell of the routing report, to listen to."""
