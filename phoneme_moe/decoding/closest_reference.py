"""The reference closest to a hypothesis, where words have several pronunciations.

Edit distance over a chain of words, each with alternatives: a row of the usual dynamic programme is
continued by every pronunciation of a word, and the best continuation is kept for each position in
the hypothesis.

Legend: J positions in the hypothesis (its length + 1), A pronunciations of a word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
"""For each position in the hypothesis ``cost * base + origin``: the fewest errors so far, and the
position at which the word began. The smaller key has fewer errors."""


def closest_reference(
    words: Sequence[Sequence[Sequence[str]]], hypothesis: Sequence[str]
) -> list[int]:
    """Chooses a pronunciation of every word so that the hypothesis has the fewest errors.

    Args:
        words: For each word its pronunciations, each a sequence of phonemes.
        hypothesis: Recognised phonemes.

    Returns:
        Index of the pronunciation of every word; the first ones where several are equally close.
    """
    base = len(hypothesis) + 1
    positions = np.arange(base)
    codes = {symbol: code for code, symbol in enumerate(dict.fromkeys(hypothesis))}
    coded = np.array([codes[symbol] for symbol in hypothesis], np.int64)
    costs = positions.copy()  # everything so far was inserted
    steps: list[tuple[Keys, Keys]] = []
    for word in words:
        start = costs * base + positions
        ends = np.stack([_advance(start, p, codes, coded, base) for p in word])  # (A, J)
        # The first of equally good pronunciations.
        choice = (ends // base).argmin(axis=0)
        best = ends[choice, positions]
        costs = best // base
        steps.append((choice, best % base))
    chosen = []
    position = base - 1
    for choice, origins in reversed(steps):
        chosen.append(int(choice[position]))
        position = int(origins[position])
    return chosen[::-1]


def _advance(
    keys: Keys, pronunciation: Sequence[str], codes: dict[str, int], coded: Keys, base: int
) -> Keys:
    """Continues a row by the phonemes of a pronunciation, shape (positions,)."""
    insertions = np.arange(len(keys)) * base
    for symbol in pronunciation:
        differs = coded != codes.get(symbol, -1)
        following = keys + base  # the phoneme was deleted
        following[1:] = np.minimum(following[1:], keys[:-1] + base * differs)
        # Any number of insertions after it.
        keys = np.minimum.accumulate(following - insertions) + insertions
    return keys
