"""Which phonemes follow which: an n-gram with interpolated modified Kneser-Ney smoothing.

Chen & Goodman 1998, section 3. A context is a number with one digit for each phoneme before: 0 is
"before the utterance", 1 the first symbol. Tables are dense, so that decoders look up whole beams.

Legend: S symbols, W = S + 1 what may come next (the last one: the end), C contexts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.errors import InputError

NGRAM_VERSION = 1
MOST = 4
"""Highest order: its tables take 10 MB for 40 symbols, one more 400."""

BEGIN, END = "<s>", "</s>"

Counts = dict[tuple[int, ...], int]
"""How often each n-gram was seen: digits of the context, then what came next (0-based)."""


class PhonemeNgram:
    """A phoneme n-gram, ready for lookup.

    Attributes:
        symbols: The phonemes in order.
        order: Phonemes that are looked at, the next one included.
        log_probabilities: Natural logarithms, float32, shape (contexts, symbols + 1); the last
            column is the end of the utterance.
    """

    def __init__(self, symbols: Sequence[str], order: int, counts: Counts) -> None:
        """Smooths counts of n-grams of the highest order."""
        self.symbols = tuple(symbols)
        self.order = order
        self._counts = counts
        self.log_probabilities = np.log(_smoothed(counts, order, len(symbols))).astype(np.float32)

    @classmethod
    def estimate(
        cls, utterances: Iterable[Sequence[str]], symbols: Sequence[str], order: int = MOST
    ) -> PhonemeNgram:
        """From the phonemes of training utterances.

        Args:
            utterances: The phonemes of each; those that are no symbol are left out.
            symbols: All phonemes that there are.
            order: 1 to ``MOST``.
        """
        digit = {symbol: number for number, symbol in enumerate(symbols, 1)}
        counts: Counter[tuple[int, ...]] = Counter()
        for utterance in utterances:
            said = [digit[p] for p in utterance if p in digit]
            padded = [0] * (order - 1) + said
            for last, following in enumerate([*said, len(symbols) + 1]):
                counts[(*padded[last : last + order - 1], following - 1)] += 1
        return cls(symbols, order, dict(counts))

    @property
    def start(self) -> int:
        """The context before the first phoneme."""
        return 0

    def following(self, context: NDArray[np.int64], symbol: NDArray[np.int64]) -> NDArray[np.int64]:
        """Contexts after further phonemes, both of one shape; symbols from 0."""
        return (context * (len(self.symbols) + 1) + symbol + 1) % len(self.log_probabilities)

    def log_probability(self, phonemes: Sequence[str]) -> float:
        """Of a whole utterance and its end, natural logarithm."""
        place = {symbol: number for number, symbol in enumerate(self.symbols)}
        context, total = np.array(self.start), 0.0
        for phoneme in phonemes:
            total += float(self.log_probabilities[context, place[phoneme]])
            context = self.following(context, np.array(place[phoneme]))
        return total + float(self.log_probabilities[context, -1])

    def perplexity(self, utterances: Iterable[Sequence[str]]) -> float:
        """Of utterances, their ends included; 1 where nothing surprises."""
        total, count = 0.0, 0
        for utterance in utterances:
            total += self.log_probability(utterance)
            count += len(utterance) + 1
        return float(np.exp(-total / max(count, 1)))

    def to_json(self) -> dict[str, Any]:
        """Plain data: what followed each context, and how often."""
        names = [BEGIN, *self.symbols]
        followers = [*self.symbols, END]
        contexts: dict[str, dict[str, int]] = {}
        for (*context, following), count in sorted(self._counts.items()):
            key = " ".join(names[digit] for digit in context)
            contexts.setdefault(key, {})[followers[following]] = count
        return {
            "version": NGRAM_VERSION,
            "order": self.order,
            "symbols": list(self.symbols),
            "counts": contexts,
        }

    @classmethod
    def from_json(cls, data: Any, where: str) -> PhonemeNgram:
        """Reads what ``to_json`` gave.

        Args:
            data: Plain data.
            where: The file, for messages.

        Raises:
            InputError: Names the key that does not hold.
        """

        def refuse(key: str, found: object, expected: str) -> InputError:
            return InputError(
                f"{where}: language_model.{key}: found {found!r}, expected {expected}"
            )

        if not isinstance(data, dict) or data.get("version") != NGRAM_VERSION:
            found = data.get("version") if isinstance(data, dict) else data
            raise refuse("version", found, str(NGRAM_VERSION))
        order, symbols, contexts = data.get("order"), data.get("symbols"), data.get("counts")
        if type(order) is not int or not 1 <= order <= MOST:
            raise refuse("order", order, f"1 to {MOST}")
        if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
            raise refuse("symbols", symbols, "a list of phonemes")
        if len(set(symbols)) != len(symbols) or len(symbols) > 200:
            raise refuse("symbols", f"{len(symbols)} of them", "up to 200 different ones")
        if not isinstance(contexts, dict):
            raise refuse("counts", contexts, "an object")
        digit = {symbol: number for number, symbol in enumerate([BEGIN, *symbols])}
        place = {symbol: number for number, symbol in enumerate([*symbols, END])}
        counts: Counts = {}
        for key, followers in contexts.items():
            context = key.split()
            unknown = [p for p in context if p not in digit]
            if len(context) != order - 1 or unknown:
                raise refuse("counts", key, f"{order - 1} known phonemes")
            if not isinstance(followers, dict):
                raise refuse(f"counts.{key}", followers, "an object")
            for following, count in followers.items():
                if following not in place:
                    raise refuse(f"counts.{key}", following, "a known phoneme")
                if type(count) is not int or not 0 < count < 1 << 40:
                    raise refuse(f"counts.{key}.{following}", count, "a whole number above 0")
                counts[(*(digit[p] for p in context), place[following])] = count
        return cls(symbols, order, counts)


def _smoothed(counts: Counts, order: int, num_symbols: int) -> NDArray[np.float64]:
    """Probabilities of what comes next in every context, shape (contexts, symbols + 1)."""
    width = num_symbols + 1
    table = np.full((1, width), 1 / width)
    levels = [np.array([(*gram, n) for gram, n in sorted(counts.items())], np.int64)]
    levels[0] = levels[0].reshape(-1, order + 1)
    while levels[0].shape[1] > 2:
        levels.insert(0, _shorter(levels[0]))
    for level in levels:
        if level.shape[1] > 2:
            # As after the shorter context, whatever the phoneme before that is.
            table = np.tile(table, (width, 1))
        if len(level):
            _interpolate(table, level, width)
    return table


def _shorter(level: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts of n-grams without their first phoneme.

    What counts is before how many different phonemes they stood; at the beginning of an utterance,
    where nothing else can stand before, how often.
    """
    grams, inverse = np.unique(level[:, 1:-1], axis=0, return_inverse=True)
    kinds = np.bincount(inverse.ravel(), minlength=len(grams))
    times = np.bincount(inverse.ravel(), weights=level[:, -1], minlength=len(grams))
    begins = grams[:, 0] == 0 if grams.shape[1] > 1 else np.zeros(len(grams), bool)
    return np.column_stack([grams, np.where(begins, times, kinds)]).astype(np.int64)


def _interpolate(table: NDArray[np.float64], level: NDArray[np.int64], width: int) -> None:
    """Puts the counts of one order over the probabilities of shorter contexts, in place."""
    context = np.zeros(len(level), np.int64)
    for column in range(level.shape[1] - 2):
        context = context * width + level[:, column]
    following, count = level[:, -2], level[:, -1].astype(float)
    discount = _discounts(level[:, -1])[np.minimum(level[:, -1], 3)]
    seen, inverse = np.unique(context, return_inverse=True)
    total = np.bincount(inverse, weights=count)
    freed = np.bincount(inverse, weights=discount)
    table[seen] *= (freed / total)[:, None]
    table[context, following] += (count - discount) / total[inverse]


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Taken off n-grams seen once, twice, and more often (Chen & Goodman 1998, eq. 17).

    Where there are too few n-grams to tell: half, as much as is usual.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)[:5].astype(float)
    usual = np.array([0.0, 0.5, 0.75, 0.9])
    if not (n[1:5] > 0).all():
        return usual
    y = n[1] / (n[1] + 2 * n[2])
    found = [k - (k + 1) * y * after / own for k, (own, after) in enumerate(pairwise(n[1:5]), 1)]
    clipped: NDArray[np.float64] = np.clip([0.0, *found], usual / 5, [0.0, 0.95, 1.9, 2.9])
    return clipped
