"""The vowels, the gate's side inputs, and the division into training and test speakers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe_reproductions.vowels import VOWELS, peterson_barney

DROPPED_SPEAKER = 33
SIDES = {
    "formants": "Form",
    "speaker": "Speaker ID",
    "mean": "MFC",
    "both": "MFC + range",
    "range": "Range",
}
"""Input of the gate, with the paper's name of it."""

TRAIN, HELD_OUT, TEST = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Tokens:
    """The cases, one per token.

    Attributes:
        formants: F1 and F2 in kHz, shape (cases, 2).
        vowel: Index into ``VOWELS``, shape (cases,).
        targets: 1 for the vowel and 0 for the others, shape (cases, 10).
        speaker: 0..74, shape (cases,).
        group: ``m``, ``w`` or ``c`` of each speaker, shape (75,).
        enrolment: Cases by which the expert of an unseen speaker is chosen: one of each of the
            first three vowels; shape (75, 3).
    """

    formants: Tensor
    vowel: Tensor
    targets: Tensor
    speaker: Tensor
    group: np.ndarray
    enrolment: Tensor

    def side(self, name: str) -> Tensor:
        """Input of the gate, shape (cases, inputs); formants and their statistics in kHz."""
        if name == "formants":
            return self.formants
        if name == "speaker":
            return functional.one_hot(self.speaker).float()
        formants = [self.formants[self.speaker == speaker] for speaker in range(len(self.group))]
        by_speaker = {
            "mean": torch.stack([values.mean(dim=0) for values in formants]),
            "range": torch.stack([values.amax(dim=0) - values.amin(dim=0) for values in formants]),
        }
        sides = list(by_speaker.values()) if name == "both" else [by_speaker[name]]
        return torch.cat(sides, dim=1)[self.speaker]


@cache
def tokens() -> Tokens:
    """Ten vowels of 75 speakers, two tokens of each."""
    vowels = peterson_barney()
    vowels = vowels.where(vowels.speaker != DROPPED_SPEAKER)
    _, first, speaker = np.unique(vowels.speaker, return_index=True, return_inverse=True)
    enrolment = [
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
        enrolment=torch.tensor(enrolment),
    )


def standardised(values: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 of each column, over all cases."""
    return (values - values.mean(dim=0)) / values.std(dim=0)


def divide(split: int, side: str) -> np.ndarray:
    """The part of each case: ``TRAIN``, ``HELD_OUT`` or ``TEST``; shape (cases,).

    Test speakers are 4 men, 3 women and 3 children, or 2, 2 and 1 where the gate sees the
    speaker's identity; as many of the others are held out.
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
