"""Phoneme notations: one normal form of every symbol; ARPABET, IPA and X-SAMPA."""
