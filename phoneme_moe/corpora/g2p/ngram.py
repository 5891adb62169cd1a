"""N-grams of symbols with interpolated modified Kneser-Ney smoothing.

Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling". The grams
of each order are numbered; a gram is the number of its history, a gram of the order below, and a
symbol, so that an order is one sorted array.

Shapes: H hypotheses, N the order of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
START = 0
"""The symbol before every sequence; it only occurs in histories."""
END = 1
"""The symbol after every sequence."""


@dataclass(frozen=True)
class _Order:
    """The grams of one order.

    Attributes:
        keys: Number of the history times the number of symbols, plus the symbol; sorted.
        log_probabilities: Of the symbol after the history.
        log_backoffs: Weight of the order below after the gram, where a longer gram is missing.
    """

    keys: Ids
    log_probabilities: Floats
    log_backoffs: Floats

    def find(self, keys: Ids) -> Ids:
        """The number of each gram; -1 if there is none."""
        found = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[found] == keys, found, -1)


class NGram:
    """A smoothed n-gram model of sequences of symbols."""

    def __init__(self, sequences: Sequence[Sequence[int]], num_symbols: int, order: int) -> None:
        """Estimates the probabilities.

        Args:
            sequences: Symbols from 2 to ``num_symbols`` - 1; at least one sequence.
            num_symbols: Number of symbols, with ``START`` and ``END``.
            order: Length of the longest grams, at least 2; less where all sequences are shorter.
        """
        self._num_symbols = num_symbols
        symbols = np.array([s for one in sequences for s in (START, *one, END)], dtype=np.int64)
        place = np.concatenate([np.arange(len(one) + 2) for one in sequences])
        # The gram that ends at each symbol, by order; -1 where the sequence has just begun.
        grams = [symbols]
        keys = [np.arange(num_symbols)]
        for length in range(2, min(order, place.max() + 1) + 1):
            ends = place >= length - 1
            pairs = grams[-1][:-1] * num_symbols + symbols[1:]
            known, numbers = np.unique(pairs[ends[1:]], return_inverse=True)
            gram = np.full(len(symbols), -1)
            gram[ends] = numbers
            grams.append(gram)
            keys.append(known)
        self._orders = _estimate(grams, keys, place > 0)

    def start(self) -> Ids:
        """The history before the first symbol: its gram of each order but the last, (1, N - 1)."""
        history = np.full((1, len(self._orders) - 1), -1)
        history[0, 0] = START
        return history

    def score(self, histories: Ids, symbols: Ids) -> tuple[Floats, Ids]:
        """Log probabilities of symbols after histories.

        Args:
            histories: The gram of each order that a history ends with, or -1, (H, N - 1).
            symbols: A symbol for each history, (H,).

        Returns:
            The log probabilities (H,), and the histories that end with the symbols (H, N - 1).
        """
        extended = np.full_like(histories, -1)
        extended[:, 0] = symbols
        scores = self._orders[0].log_probabilities[symbols]
        for index, (shorter, order) in enumerate(zip(self._orders, self._orders[1:], strict=False)):
            history = histories[:, index]
            known = history >= 0
            found = np.where(known, order.find(history * self._num_symbols + symbols), -1)
            backed_off = scores + np.where(known, shorter.log_backoffs[history], 0)
            scores = np.where(found >= 0, order.log_probabilities[found], backed_off)
            if index + 1 < histories.shape[1]:
                extended[:, index + 1] = found
        return scores, extended


def _estimate(grams: list[Ids], keys: list[Ids], predicted: NDArray[np.bool_]) -> list[_Order]:
    """Probabilities of every order from the grams at each place of the sequences.

    Args:
        grams: The gram that ends at each place, by order; -1 for none.
        keys: Those of each order.
        predicted: Whether the symbol at each place is predicted, so not ``START``.
    """
    num_symbols = len(keys[0])
    probabilities: list[Floats] = []
    backoffs: list[Floats] = []
    for index, (gram, known) in enumerate(zip(grams, keys, strict=True)):
        counts = np.bincount(gram[predicted & (gram >= 0)], minlength=len(known))
        if index + 1 < len(grams):
            # The number of different symbols before the gram; nothing precedes START.
            suffixes = _shorter(grams[index + 1], gram, len(keys[index + 1]))
            preceding = np.bincount(suffixes, minlength=len(known))
            counts = np.where(preceding > 0, preceding, counts)
        history = known // num_symbols if index else np.zeros_like(known)
        num_histories = len(keys[index - 1]) if index else 1
        discounts = _discounts(counts)[counts.clip(max=3)]
        totals = np.bincount(history, counts, num_histories)
        discounted = np.bincount(history, discounts, num_histories)
        # A gram that nothing follows leaves all to the order below.
        weights = np.divide(discounted, totals, out=np.ones(num_histories), where=totals > 0)
        if index:
            lower = probabilities[-1][_shorter(gram, grams[index - 1], len(known))]
            backoffs.append(weights)
        else:
            lower = np.full(len(known), 1 / (num_symbols - 1))
        probabilities.append((counts - discounts) / totals[history] + weights[history] * lower)
    backoffs.append(np.ones_like(probabilities[-1]))
    return [
        _Order(k, np.log(p), np.log(b))
        for k, p, b in zip(keys, probabilities, backoffs, strict=True)
    ]


def _shorter(longer: Ids, shorter: Ids, num_longer: int) -> Ids:
    """For each gram of an order, the gram of the order below without the first symbol."""
    there = longer >= 0
    result = np.zeros(num_longer, dtype=np.int64)
    result[longer[there]] = shorter[there]
    return result


def _discounts(counts: Ids) -> Floats:
    """What is subtracted from counts of 0, 1, 2, and 3 or more (Chen & Goodman, equation 26).

    A little at least, so that no symbol has a probability of 0.
    """
    n1, n2, n3, n4 = (int((counts == count).sum()) for count in range(1, 5))
    if not (n1 and n2 and n3):
        return np.array([0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    raw = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.clip(raw, [0, 0.01, 0.01, 0.01], [0, 0.99, 1.99, 2.99])
