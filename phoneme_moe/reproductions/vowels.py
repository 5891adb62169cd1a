"""Peterson & Barney's vowels, divided by speakers: nobody is in two parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from phoneme_moe.reproductions.peterson_barney import peterson_barney

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
    """Tokens of training, dev and test speakers; nobody is in two of them.

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
        drawn = generator.permutation(np.unique(vowels.speaker[vowels.group == group]))
        tested = round(len(drawn) / 4)
        watched = tested + round((len(drawn) - tested) / 5)
        speakers["test"] += list(drawn[:tested])
        speakers["dev"] += list(drawn[tested:watched])
        speakers["train"] += list(drawn[watched:])
    seen = vowels.formants[:, FEATURES[features]]
    chosen = {part: np.isin(vowels.speaker, numbers) for part, numbers in speakers.items()}
    known = seen[chosen["train"]]
    scaled = torch.from_numpy((seen - known.mean(axis=0)) / known.std(axis=0))
    vowel = torch.from_numpy(vowels.vowel)
    return {part: Tokens(scaled[own], vowel[own]) for part, own in chosen.items()}
