"""The vowels, what a gate is shown of them, and which speakers are for what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe.reproductions.peterson_barney import VOWELS, peterson_barney

DROPPED_SPEAKER = 33
SIDES = {
    "formants": "Form",
    "speaker": "Speaker ID",
    "mean": "MFC",
    "both": "MFC + range",
    "range": "Range",
}
"""What a gate is shown, with the paper's name of it."""

TRAIN, HELD_OUT, TEST = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Tokens:
    """The cases.

    Attributes:
        formants: F1 and F2 in kHz, shape (cases, 2).
        vowel: Index into ``VOWELS``, shape (cases,).
        targets: 1 for the vowel and 0 for the others, shape (cases, 10).
        speaker: 0..74, shape (cases,).
        group: ``m``, ``w`` or ``c`` of each speaker, shape (75,).
        introduction: Cases by which a new speaker is known: one of each of the first three
            vowels; shape (75, 3).
    """

    formants: Tensor
    vowel: Tensor
    targets: Tensor
    speaker: Tensor
    group: np.ndarray
    introduction: Tensor

    def side(self, name: str) -> Tensor:
        """What a gate is shown, shape (cases, inputs); formants and what is made of them in kHz."""
        if name == "formants":
            return self.formants
        if name == "speaker":
            return functional.one_hot(self.speaker).float()
        own = [self.formants[self.speaker == speaker] for speaker in range(len(self.group))]
        of_speakers = {
            "mean": torch.stack([tokens.mean(dim=0) for tokens in own]),
            "range": torch.stack([tokens.amax(dim=0) - tokens.amin(dim=0) for tokens in own]),
        }
        shown = list(of_speakers.values()) if name == "both" else [of_speakers[name]]
        return torch.cat(shown, dim=1)[self.speaker]


@cache
def tokens() -> Tokens:
    """Ten vowels of 75 speakers, each said twice."""
    vowels = peterson_barney()
    vowels = vowels.where(vowels.speaker != DROPPED_SPEAKER)
    _, first, speaker = np.unique(vowels.speaker, return_index=True, return_inverse=True)
    introduction = [
        [int(np.flatnonzero((speaker == s) & (vowels.vowel == v))[0]) for v in range(3)]
        for s in range(len(first))
    ]
    vowel = torch.tensor(vowels.vowel)
    return Tokens(
        formants=torch.tensor(vowels.formants[:, 1:3], dtype=torch.float32),
        vowel=vowel,
        targets=functional.one_hot(vowel, len(VOWELS)).float(),
        speaker=torch.tensor(speaker),
        group=vowels.group[first],
        introduction=torch.tensor(introduction),
    )


def standardised(values: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 of each column, over all cases."""
    return (values - values.mean(dim=0)) / values.std(dim=0)


def divide(split: int, side: str) -> np.ndarray:
    """The part of each case: ``TRAIN``, ``HELD_OUT`` or ``TEST``; shape (cases,).

    Test speakers are 4 men, 3 women and 3 children, or 2, 2 and 1 where the gate knows speakers;
    as many of the others are held out.
    """
    counts = {"m": 2, "w": 2, "c": 1} if side == "speaker" else {"m": 4, "w": 3, "c": 3}
    cases = tokens()
    generator = np.random.default_rng(split)
    part = np.full(len(cases.group), TRAIN)
    for group, count in counts.items():
        shuffled = generator.permutation(np.flatnonzero(cases.group == group))
        part[shuffled[:count]] = TEST
        part[shuffled[count : 2 * count]] = HELD_OUT
    of_cases: np.ndarray = part[cases.speaker.numpy()]
    return of_cases
