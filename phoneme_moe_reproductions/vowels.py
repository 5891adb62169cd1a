"""Peterson & Barney's (1952) vowels: formants of ten vowels, twice by each of 76 speakers.

The table is part of Praat; nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from phoneme_moe.errors import InputError
from phoneme_moe.system.extras import install_command

VOWELS = ("iy", "ih", "eh", "ae", "ah", "aa", "ao", "uh", "uw", "er")


@dataclass(frozen=True, eq=False)
class Vowels:
    """The measurements, one row per token.

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
            f"{install_command('praat')}"
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


FEATURES = {"F0-F3": slice(0, 4), "F1 F2": slice(1, 3)}
"""Columns of the formant table."""


@dataclass(frozen=True)
class Tokens:
    """Formants and vowels of some speakers.

    Attributes:
        inputs: Standardised by the training speakers, shape (tokens, features).
        vowel: Index into ``VOWELS``, shape (tokens,).
    """

    inputs: Tensor
    vowel: Tensor


def divide(seed: int, features: str) -> dict[str, Tokens]:
    """Tokens of disjoint training, dev and test speakers.

    Args:
        seed: Of the draw. A quarter of the men, of the women and of the children each are for
            testing, and a fifth of the others for dev.
        features: A key of ``FEATURES``.

    Returns:
        ``train``, ``dev`` and ``test``.
    """
    vowels = peterson_barney()
    generator = np.random.default_rng(seed)
    speakers: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    for group in ("m", "w", "c"):
        shuffled = generator.permutation(np.unique(vowels.speaker[vowels.group == group]))
        num_test = round(len(shuffled) / 4)
        end_dev = num_test + round((len(shuffled) - num_test) / 5)
        speakers["test"] += list(shuffled[:num_test])
        speakers["dev"] += list(shuffled[num_test:end_dev])
        speakers["train"] += list(shuffled[end_dev:])
    formants = vowels.formants[:, FEATURES[features]]
    masks = {part: np.isin(vowels.speaker, numbers) for part, numbers in speakers.items()}
    train = formants[masks["train"]]
    scaled = torch.from_numpy((formants - train.mean(axis=0)) / train.std(axis=0))
    vowel = torch.from_numpy(vowels.vowel)
    return {part: Tokens(scaled[mask], vowel[mask]) for part, mask in masks.items()}
