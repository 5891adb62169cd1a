"""Phonemes of one set that may be the same phoneme, written in more than one way."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from phoneme_moe.errors import InputError
from phoneme_moe.notation.convert import convert_phoneme, notation_of
from phoneme_moe.notation.normal_form import normalize_phoneme

_LENGTH_STRESS_TONE = re.compile(
    "[\u02c8\u02cc'\u02d0\u02d1:\u0306"  # stress and length
    "\u02e5-\u02e9\ua708-\ua71a\u00b9\u00b2\u00b3\u2070\u2074-\u2079"  # tone letters and digits
    "\u0300-\u0302\u0304\u030b\u030c\u030f\u1dc4-\u1dc9]"  # tone marks
    "|(?<=.)[0-9]+"
)
_LOOK_ALIKE = str.maketrans(
    # Greek letters beside those of the IPA,
    dict(zip("αγειυφϕνοꞵꭓ", "ɑɣɛɪʊɸɸvoβχ", strict=True))
    # Cyrillic ones,
    | dict(zip("аеорсухәѳ", "aeopcyxəɵ", strict=True))
    # Latin ones and signs,
    | dict(zip("ǝıɩ∫ǃˀ", "əɪɪʃ!ʔ", strict=True))
    # Marks above a descender that otherwise stand below.
    | {"\u030a": "\u0325", "\u030d": "\u0329", "\u0311": "\u032f"}
)


def near_twins(phonemes: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of phonemes that differ only in length, stress, tone or case, or look alike.

    Such phonemes may well be different (length is phonemic in Finnish): a note, not a problem.
    X-SAMPA is compared by what it stands for, since ``s`` and ``S`` are different sounds.

    Args:
        phonemes: A phoneme set.

    Returns:
        The groups of two or more, each in the order of the set.
    """
    phonemes = list(phonemes)
    notation = notation_of(phonemes)
    groups: dict[str, list[str]] = {}
    for phoneme in phonemes:
        groups.setdefault(_core(phoneme, notation), []).append(phoneme)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _core(phoneme: str, notation: str | None) -> str:
    name = normalize_phoneme(phoneme)
    if notation == "xsampa":
        try:
            name = convert_phoneme(phoneme, notation, "ipa")
        except InputError:  # it is compared as written
            return phoneme
    decomposed = unicodedata.normalize("NFD", name).translate(_LOOK_ALIKE)
    return _LENGTH_STRESS_TONE.sub("", decomposed).casefold() or phoneme
