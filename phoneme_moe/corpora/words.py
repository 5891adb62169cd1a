"""Words of texts and lexicons, compared regardless of how they are written.

Composed and decomposed letters (NFC, NFD), straight and curly apostrophes are the same; upper and
lower case are, unless a lexicon distinguishes them (German ``Weg`` and ``weg``).
"""

from __future__ import annotations

import unicodedata

_APOSTROPHES = "’‘ʼ＇´`"
_INVISIBLE = "\u00ad\u200b\u200e\u200f\u2060\ufeff"
_SAME = str.maketrans(dict.fromkeys(_APOSTROPHES, "'") | dict.fromkeys(_INVISIBLE, ""))
_PUNCTUATION = '.,;:!?"-‐‑–—…¿¡«»‹›“”„‚、。，．！？：；「」『』،؛؟۔।॥'
"""Marks around a word that have no sound. Others may be spoken (``&``, ``%``), or mark an event
(``[noise]``), so a word with them must be in the lexicon."""


def is_symbol(text: str) -> bool:
    """Whether a text can be a phoneme: short, without white space and control characters."""
    return (
        0 < len(text) <= 100
        and len(text.split()) == 1
        and text.strip() == text
        and not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)
    )


def normalise_word(word: str) -> str:
    """A word in NFC, with straight apostrophes and without invisible characters."""
    if word.isascii():
        return word.replace("`", "'")
    return unicodedata.normalize("NFC", word.translate(_SAME))


def fold_word(word: str) -> str:
    """A normalised word regardless of case.

    Upper case first, since the Turkish dotless i and the German sharp s meet other letters there
    (``ISSIZ`` and ``ıssız``, ``STRASSE`` and ``straße``).
    """
    if word.isascii():
        return normalise_word(word).lower()
    # The capital dotted I becomes an i with a combining dot.
    return normalise_word(word.upper().casefold().replace("i\u0307", "i"))


def spellings(word: str) -> list[str]:
    """Spellings of a word of a text under which a lexicon may have it.

    Returns:
        The normalised word, and the word without punctuation around it, first with apostrophes and
        then without; the last one is empty for mere punctuation.
    """
    whole = normalise_word(word)
    return list(dict.fromkeys([whole, whole.strip(_PUNCTUATION), whole.strip(_PUNCTUATION + "'")]))
