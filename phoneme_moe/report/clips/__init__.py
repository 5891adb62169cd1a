"""Clips: audio of the spoken phonemes behind a cell of the routing report."""
