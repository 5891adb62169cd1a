"""Decoding and scoring: beam search, phoneme n-gram, forced alignment, phoneme error rate."""
