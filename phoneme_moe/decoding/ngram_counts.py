"""Counts of n-grams of symbols, as numbers.

An n-gram is stored as a number in base S + 1 with one digit per phoneme: 0 is the start or end of
the utterance, 1 the first symbol. N-grams of all lengths can thus be sorted and searched as
numbers, and the first phoneme is dropped by a remainder.

Legend: S symbols.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import shorten

BEGIN, END = "<s>", "</s>"

_AT_ONCE = 1 << 20
"""Phonemes that are counted at once."""


def count_ngrams(
    utterances: Iterable[Sequence[str]], symbols: Sequence[str], order: int
) -> dict[int, int]:
    """Counts the n-grams of utterances, each with its start and its end.

    Args:
        utterances: Phonemes of each utterance; phonemes outside the set are ignored.
        symbols: The phoneme set.
        order: Length of the n-grams.

    Returns:
        Count of each n-gram, by its number.
    """
    phonemes = PhonemeSet(tuple(symbols), has_blank=True)  # its outputs are the digits
    counts: Counter[int] = Counter()
    digits: list[int] = []
    real: list[bool] = []
    for utterance in utterances:
        encoded = phonemes.encode(p for p in utterance if p in phonemes)
        # So much padding that no n-gram has parts of two utterances.
        digits += [*[0] * (order - 1), *encoded, 0]
        real += [*[False] * (order - 1), *[True] * (len(encoded) + 1)]
        if len(digits) >= _AT_ONCE:
            counts.update(_count(digits, real, phonemes.num_outputs, order))
            digits, real = [], []
    counts.update(_count(digits, real, phonemes.num_outputs, order))
    return dict(counts)


def _count(digits: Sequence[int], real: Sequence[bool], base: int, order: int) -> dict[int, int]:
    """Counts the n-grams that end in real digits, not in padding."""
    if not digits:
        return {}
    array = np.array(digits, dtype=np.int64)
    windows = len(array) - order + 1
    grams = np.zeros(windows, dtype=np.int64)
    for place in range(order):
        grams = grams * base + array[place : place + windows]
    numbers, times = np.unique(grams[np.array(real)[order - 1 :]], return_counts=True)
    return dict(zip(numbers.tolist(), times.tolist(), strict=True))


def counts_to_document(
    counts: Mapping[int, int], symbols: Sequence[str], order: int
) -> dict[str, dict[str, int]]:
    """Counts by context and next phoneme, as in ``NgramDocument``."""
    base = len(symbols) + 1
    before, after = (BEGIN, *symbols), (END, *symbols)
    by_context: dict[str, dict[str, int]] = {}
    for gram, count in sorted(counts.items()):
        digits = [gram // base**place % base for place in reversed(range(order))]
        key = " ".join(before[digit] for digit in digits[:-1])
        by_context.setdefault(key, {})[after[digits[-1]]] = count
    return by_context


def counts_from_document(
    by_context: Mapping[str, Mapping[str, int]], symbols: Sequence[str], order: int, where: str
) -> dict[int, int]:
    """Counts by number.

    Args:
        by_context: Counts by context and next phoneme.
        symbols: The phonemes.
        order: Length of the n-grams.
        where: The file and the key, for error messages.

    Raises:
        InputError: A context or phoneme is not valid.
    """
    before = {symbol: digit for digit, symbol in enumerate((BEGIN, *symbols))}
    after = {symbol: digit for digit, symbol in enumerate((END, *symbols))}
    base = len(symbols) + 1
    counts: dict[int, int] = {}
    for key, followers in by_context.items():
        context = [before.get(symbol, -1) for symbol in key.split()]
        begins = context.count(0)
        holds = len(context) == order - 1 and -1 not in context and not any(context[:begins])
        if not holds:
            expected = f"{order - 1} known phonemes, {BEGIN} only in front"
            raise InputError(f"{where}: found {shorten(key)}, expected {expected}")
        gram = 0
        for digit in context:
            gram = (gram + digit) * base
        for symbol, count in followers.items():
            if symbol not in after:
                expected = f"a known phoneme or {END}"
                raise InputError(f"{where}.{key}: found {shorten(symbol)}, expected {expected}")
            counts[gram + after[symbol]] = count
    return counts
