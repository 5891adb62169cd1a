"""Peterson & Barney's (1952) vowels: 76 speakers say ten vowels twice, as formant frequencies.

Praat carries the table; nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np

from phoneme_moe.errors import InputError

VOWELS = ("iy", "ih", "eh", "ae", "ah", "aa", "ao", "uh", "uw", "er")


@dataclass(frozen=True, eq=False)
class Vowels:
    """The measurements, one row for each token.

    Attributes:
        formants: Fundamental and first three formants (F0-F3) in kHz, shape (tokens, 4).
        vowel: Index into ``VOWELS``, shape (tokens,).
        speaker: Number of the speaker from 1 as published: 33 men, 28 women, 15 children; shape
            (tokens,).
        group: ``m``, ``w`` or ``c`` for man, woman, child; shape (tokens,).
    """

    formants: np.ndarray
    vowel: np.ndarray
    speaker: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.vowel)

    def where(self, chosen: np.ndarray) -> Vowels:
        """The tokens for which a boolean array is true."""
        return Vowels(
            self.formants[chosen], self.vowel[chosen], self.speaker[chosen], self.group[chosen]
        )


@cache
def peterson_barney() -> Vowels:
    """All 1,520 tokens.

    Raises:
        InputError: Praat's Python package is not installed.
    """
    if find_spec("parselmouth") is None:
        raise InputError(
            "the Peterson & Barney vowels come with Praat; install it with: "
            "pip install 'phoneme-moe[praat]'"
        )
    from parselmouth.praat import call

    table = call("Create formant table (Peterson & Barney 1952)")
    lines = [line.split("\t") for line in call(table, "List...", False).strip().split("\n")]
    columns = {name: np.array([line[i] for line in lines[1:]]) for i, name in enumerate(lines[0])}
    formants = np.stack([columns[name].astype(float) / 1000 for name in ("F0", "F1", "F2", "F3")])
    return Vowels(
        formants=formants.T,
        vowel=np.array([VOWELS.index(name) for name in columns["Vowel"]]),
        speaker=columns["Speaker"].astype(int),
        group=columns["Type"],
    )
