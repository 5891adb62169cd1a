"""Decoding: beam search, n-gram, forced alignment, scoring; independent of the experts."""
