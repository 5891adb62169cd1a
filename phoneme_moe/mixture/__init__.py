"""Experts, gates and how they are combined, for any features.

Torch only; knows nothing of speech.
"""
