"""Phoneme n-gram with interpolated modified Kneser-Ney smoothing.

Chen & Goodman 1998, section 3. N-grams are numbers (``ngram_counts``). That of the training
utterances may be interpolated with one of text.

Legend: S symbols, N states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.document import NgramDocument, TextDocument
from phoneme_moe.decoding.ngram_counts import (
    BEGIN,
    END,
    count_ngrams,
    counts_from_document,
    counts_to_document,
)
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import shorten

MAX_TABLE = 25_000_000
"""Most entries of the tables, states times symbols: 500 MB while they are computed."""

_DEFAULT_DISCOUNTS = (0.0, 0.5, 1.0, 1.5)  # as in KenLM, if there are too few counts


@dataclass(frozen=True)
class TextNgram:
    """Counts of an n-gram of text, with which that of training utterances is interpolated.

    Attributes:
        order: Length of the longest n-gram, 1 to ``MOST_ORDER``.
        counts: Count of each n-gram, by its number.
        weight: Share of its probabilities, between 0 and 1.
    """

    order: int
    counts: Mapping[int, int] = field(repr=False)
    weight: float


@dataclass(frozen=True)
class PhonemeNgram:
    """A phoneme n-gram in the form of tables, for vectorised lookup.

    A state is the longest suffix of the history, up to ``order - 1`` phonemes, that occurs in
    training. Longer, unseen histories have the same probabilities (Kneser & Ney 1995), so this is
    exact.

    Attributes:
        symbols: The phonemes in order.
        order: Length of the longest n-gram, 1 to ``MOST_ORDER``.
        counts: Count of each n-gram, by its number.
        text: N-gram of text with which it is interpolated linearly (Jelinek & Mercer 1980), if any.
        log_probabilities: Log probability of each next symbol, shape (states, symbols + 1); the
            last column is the end of the utterance.
        next_states: State after each symbol, shape (states, symbols).
        start_state: State before the first phoneme.
    """

    symbols: tuple[str, ...]
    order: int
    counts: Mapping[int, int] = field(repr=False)
    text: TextNgram | None = None
    log_probabilities: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    next_states: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    start_state: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        base = len(self.symbols) + 1
        parts = [_levels(self.counts, self.order, base)]
        if self.text is not None:
            parts.append(_levels(self.text.counts, self.text.order, base))
            nothing = np.empty(0, np.int64), np.empty(0, np.int64)
            longest = max(map(len, parts))
            parts = [[*levels, *[nothing] * (longest - len(levels))] for levels in parts]
        # The contexts of both are states of both, so that their tables can be added.
        contexts = [
            np.union1d(np.concatenate([grams // base for grams, _ in level]), [0])
            for level in zip(*parts, strict=True)
        ]
        num_states = sum(map(len, contexts))
        if num_states * base > MAX_TABLE:
            raise InputError(
                f"found an n-gram of {num_states:,} contexts and {base - 1} phonemes, expected at "
                f"most {MAX_TABLE // base:,} contexts"
            )
        probabilities = _probabilities(parts[0], contexts, base)
        if self.text is not None:
            probabilities *= 1 - self.text.weight
            probabilities += self.text.weight * _probabilities(parts[1], contexts, base)
        np.log(probabilities, out=probabilities)
        next_states = _next_states(contexts, base)
        object.__setattr__(self, "log_probabilities", probabilities)
        object.__setattr__(self, "next_states", next_states)
        # The first of the longest contexts, which consists of start symbols only.
        object.__setattr__(self, "start_state", len(next_states) - len(contexts[-1]))

    @classmethod
    def estimate(
        cls, utterances: Iterable[Sequence[str]], symbols: Sequence[str], order: int = 4
    ) -> PhonemeNgram:
        """Estimates an n-gram from training utterances.

        Args:
            utterances: Phonemes of each utterance; phonemes outside the set are ignored.
            symbols: The phoneme set.
            order: Length of the longest n-gram, 1 to ``MOST_ORDER``.
        """
        return cls(tuple(symbols), order, count_ngrams(utterances, symbols, order))

    def next_state(
        self, states: NDArray[np.int64], symbols: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Returns the states after one further phoneme each.

        Args:
            states: States, any shape.
            symbols: Indices of the next symbols from 0, same shape.
        """
        return self.next_states[states, symbols]

    def log_probability(self, phonemes: Sequence[str]) -> float:
        """Log probability of an utterance, including its end.

        Raises:
            InputError: A phoneme is not among the symbols.
        """
        state, total = self.start_state, 0.0
        for symbol in PhonemeSet(self.symbols, has_blank=False).encode(phonemes):
            total += float(self.log_probabilities[state, symbol])
            state = int(self.next_states[state, symbol])
        return total + float(self.log_probabilities[state, -1])

    def perplexity(self, utterances: Iterable[Sequence[str]]) -> float:
        """Perplexity of utterances, including their ends, 1 or more.

        Args:
            utterances: Phonemes of each utterance; at least one utterance.

        Raises:
            InputError: A phoneme is not among the symbols.
        """
        sequences = list(utterances)
        total = sum(self.log_probability(phonemes) for phonemes in sequences)
        return float(np.exp(-total / sum(len(phonemes) + 1 for phonemes in sequences)))

    def to_document(self) -> NgramDocument:
        """Converts the counts to a document."""
        text = None
        if self.text is not None:
            counts = counts_to_document(self.text.counts, self.symbols, self.text.order)
            text = TextDocument(weight=self.text.weight, order=self.text.order, counts=counts)
        return NgramDocument(
            version=1,
            order=self.order,
            symbols=list(self.symbols),
            counts=counts_to_document(self.counts, self.symbols, self.order),
            text=text,
        )

    @classmethod
    def from_document(cls, document: NgramDocument, where: str) -> PhonemeNgram:
        """Creates the n-gram from a document.

        Args:
            document: The counts, from ``to_document``.
            where: The file and the key, for error messages.

        Raises:
            InputError: A symbol or context is not valid.
        """
        symbols = document.symbols
        for place, symbol in enumerate(symbols):
            holds = symbol.split() == [symbol] and symbol not in (BEGIN, END, *symbols[:place])
            if not holds:
                raise InputError(
                    f"{where}.symbols.{place}: found {shorten(symbol)}, expected a phoneme without "
                    "spaces, once"
                )
        counts = counts_from_document(document.counts, symbols, document.order, f"{where}.counts")
        text, of_text = None, document.text
        if of_text is not None:
            key = f"{where}.text.counts"
            counts_of_text = counts_from_document(of_text.counts, symbols, of_text.order, key)
            text = TextNgram(of_text.order, counts_of_text, of_text.weight)
        try:
            return cls(tuple(symbols), document.order, counts, text)
        except InputError as error:
            raise InputError(f"{where}.counts: {error}") from error


_Level = tuple[NDArray[np.int64], NDArray[np.int64]]
"""N-grams of one length as numbers, and the count of each."""


def _levels(counts: Mapping[int, int], order: int, base: int) -> list[_Level]:
    """N-grams of all lengths, shortest first.

    The longest n-grams, and those at the start of an utterance, have the counts of the training
    data. Shorter ones count the distinct phonemes before them, including the start of the utterance
    (Chen & Goodman 1998, section 2.7).
    """
    grams = np.fromiter(counts.keys(), np.int64, len(counts))
    times = np.fromiter(counts.values(), np.int64, len(counts))
    # One leading zero is the start of the utterance; more zeros are padding.
    digits = np.searchsorted(base ** np.arange(order - 1), grams // base, side="right")
    sizes = np.minimum(digits + 2, order)
    levels: list[_Level] = []
    longer = grams[:0]
    for size in range(order, 0, -1):
        shorter, kinds = np.unique(longer % base**size, return_counts=True)
        longer = np.concatenate([grams[sizes == size], shorter])
        levels.append((longer, np.concatenate([times[sizes == size], kinds])))
    return levels[::-1]


def _probabilities(
    levels: list[_Level], contexts: list[NDArray[np.int64]], base: int
) -> NDArray[np.float32]:
    """Probabilities of the next symbol in every state.

    Args:
        levels: N-grams by length.
        contexts: Contexts of each level, ascending, including 0; together they are the states.
        base: Number of symbols + 1.

    Returns:
        Shape (states, symbols + 1).
    """
    table = np.empty((sum(map(len, contexts)), base), np.float32)
    before = np.full((1, base), 1 / base, np.float32)
    first, shorter = 0, contexts[0]
    for size, ((grams, times), current) in enumerate(zip(levels, contexts, strict=True), 1):
        context, following = np.searchsorted(current, grams // base), grams % base - 1
        discount = _discounts(times)[np.minimum(times, 3)]
        total = np.bincount(context, times, len(current))
        freed = np.bincount(context, discount, len(current))
        share = np.divide(freed, total, out=np.ones(len(current)), where=total > 0)
        rows = table[first : first + len(current)]
        np.take(before, _without_first(current, shorter, base, size), axis=0, out=rows)
        rows *= share[:, None].astype(np.float32)
        rows[context, following] += (times - discount) / total[context]
        before, shorter, first = rows, current, first + len(current)
    return table


def _next_states(contexts: list[NDArray[np.int64]], base: int) -> NDArray[np.int64]:
    """The state after each symbol, shape (states, symbols); arguments as in ``_probabilities``."""
    table = np.empty((sum(map(len, contexts)), base - 1), np.int64)
    before = np.zeros((1, base - 1), np.int64)
    first, shorter = 0, contexts[0]
    for size, current in enumerate(contexts, 1):
        rows = table[first : first + len(current)]
        np.take(before, _without_first(current, shorter, base, size), axis=0, out=rows)
        before, shorter, first = rows, current, first + len(current)
        if size < len(contexts):
            # A longer context is the state after its last phoneme, from the one without it.
            longer = contexts[size]
            start = np.minimum(np.searchsorted(current, longer // base), len(current) - 1)
            symbol = longer % base
            reached = np.flatnonzero((current[start] == longer // base) & (symbol > 0))
            rows[start[reached], symbol[reached] - 1] = first + reached
    return table


def _without_first(
    contexts: NDArray[np.int64], shorter: NDArray[np.int64], base: int, size: int
) -> NDArray[np.int64]:
    """Indices of contexts without their first phoneme among those of the previous level."""
    places: NDArray[np.int64] = np.searchsorted(shorter, contexts % base ** max(size - 2, 0))
    return places


def _discounts(times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Discounts of n-grams with counts 0, 1, 2 and more (Chen & Goodman 1998, eq. 26)."""
    n1, n2, n3, n4 = np.bincount(np.minimum(times, 5), minlength=5)[1:5].tolist()
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        discounts = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if (discounts[1:] > 0).all():
            return discounts
    return np.array(_DEFAULT_DISCOUNTS)
