"""Posteriors to phonemes: decoders, n-grams, alignment, scoring; knows nothing of experts."""
