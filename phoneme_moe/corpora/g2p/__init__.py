"""Grapheme-to-phoneme conversion, trained on the user's lexicon: pronunciations of other words."""

from phoneme_moe.corpora.g2p.model import GraphemeToPhoneme

__all__ = ["GraphemeToPhoneme"]
