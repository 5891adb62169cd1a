"""Pairing two routings of the same utterances row by row, and matching their experts.

Experts have no order, so expert 3 of one run may be expert 7 of another. They are matched by the
one-to-one assignment that maximises the weight that both runs share, row by row.

Legend: U utterances, N rows (frames of the finer run, or tokens), A and B experts of either run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]
Counts = NDArray[np.int64]

#: Rows that are converted to double precision at once.
_CHUNK = 65_536
#: Variance below which a weight counts as constant: the resolution of float32.
_STEADY = 1e-12
#: Intersection over union of the weights from which matched experts count as the same.
SAME = 0.5


@dataclass(frozen=True, eq=False)
class PairedRouting:
    """Weights of two runs at the same times, with the rows of an utterance contiguous.

    Attributes:
        a: Weights of the first run's experts, shape (rows, experts of a); rows sum to 1.
        b: Weights of the second run's experts, shape (rows, experts of b).
        lengths: Number of rows of each utterance, shape (utterances,).
    """

    a: Weights
    b: Weights
    lengths: Counts

    @property
    def starts(self) -> Counts:
        """First row of each utterance, shape (utterances,)."""
        return np.cumsum(self.lengths) - self.lengths

    def sums(self, values: Weights) -> Floats:
        """Sums over the rows of each utterance.

        Args:
            values: Values of each row, shape (rows, columns).

        Returns:
            Sums, shape (utterances, columns).
        """
        return _sums(values, self.lengths)

    def shared(self) -> Weights:
        """Weight that two experts share, ``sum_t min(a_t, b_t)``.

        Returns:
            Shape (utterances, experts of a, experts of b).
        """
        num_utterances = len(self.lengths)
        utterance = np.repeat(np.arange(num_utterances), self.lengths)
        shared = np.empty((num_utterances, self.a.shape[1], self.b.shape[1]), dtype=np.float32)
        for expert, column in enumerate(self.a.T):
            # Most weights of a sparse layer are 0 and can be skipped.
            active = np.flatnonzero(column)
            both = np.minimum(column[active, None], self.b[active])
            lengths = np.bincount(utterance[active], minlength=num_utterances)
            shared[:, expert] = _sums(both, lengths)
        return shared

    def firsts(self) -> Counts:
        """Counts of rows by the expert with the greatest weight in each run.

        Returns:
            Shape (utterances, experts of a, experts of b).
        """
        num_a, num_b = self.a.shape[1], self.b.shape[1]
        utterance = np.repeat(np.arange(len(self.lengths)), self.lengths)
        cell = (utterance * num_a + self.a.argmax(axis=1)) * num_b + self.b.argmax(axis=1)
        size = len(self.lengths) * num_a * num_b
        return np.bincount(cell, minlength=size).reshape(-1, num_a, num_b)

    def correlations(self) -> Floats:
        """Pearson correlation of two experts' weights over all rows; 0 if one is constant.

        Returns:
            Shape (experts of a, experts of b).
        """
        num_rows = len(self.a)
        products = np.zeros((self.a.shape[1], self.b.shape[1]))
        squares_a, squares_b = np.zeros(self.a.shape[1]), np.zeros(self.b.shape[1])
        for first in range(0, num_rows, _CHUNK):  # in chunks of double precision
            rows = slice(first, first + _CHUNK)
            a, b = self.a[rows].astype(np.float64), self.b[rows].astype(np.float64)
            products += a.T @ b
            squares_a += (a**2).sum(axis=0)
            squares_b += (b**2).sum(axis=0)
        mean_a, mean_b = (w.mean(axis=0, dtype=np.float64) for w in (self.a, self.b))
        spread_a = np.maximum(squares_a / num_rows - mean_a**2, 0)
        spread_b = np.maximum(squares_b / num_rows - mean_b**2, 0)
        norms = np.sqrt(np.outer(spread_a, spread_b))
        covariances = products / num_rows - np.outer(mean_a, mean_b)
        # The variance of a constant column is only rounding error.
        varied = np.minimum.outer(spread_a, spread_b) > _STEADY
        return np.divide(covariances, norms, out=np.zeros_like(norms), where=varied)


def _sums(values: Weights, lengths: Counts) -> Floats:
    """Sums over the rows of each utterance in double precision, shape (utterances, columns)."""
    sums = np.zeros((len(lengths), values.shape[1]))
    some = lengths > 0  # for an empty utterance reduceat would return the row after it
    if some.any():
        starts = np.cumsum(lengths) - lengths
        sums[some] = np.add.reduceat(values, starts[some], axis=0, dtype=np.float64)
    return sums


def pair_rows(
    a: Sequence[Weights], b: Sequence[Weights], seconds_a: float, seconds_b: float
) -> PairedRouting:
    """Pairs the routings of the same utterances at the frames of the finer run.

    Args:
        a: Weights of each utterance, shape (rows, experts); row ``i`` starts at ``i * seconds_a``.
        b: Likewise of the second run.
        seconds_a: Seconds from one row to the next in the first run.
        seconds_b: Likewise in the second run.
    """
    finer = min(seconds_a, seconds_b)
    lengths = np.array([len(x if seconds_a <= seconds_b else y) for x, y in zip(a, b, strict=True)])
    return PairedRouting(
        np.concatenate([resample(w, seconds_a, finer, n) for w, n in zip(a, lengths, strict=True)]),
        np.concatenate([resample(w, seconds_b, finer, n) for w, n in zip(b, lengths, strict=True)]),
        lengths,
    )


def resample(weights: Weights, seconds: float, new_seconds: float, num_rows: int) -> Weights:
    """Resamples rows to another length, taking the row at the centre of each new one.

    Args:
        weights: Weights, shape (rows, experts); the last row also serves beyond the end.
        seconds: Length of a row in seconds.
        new_seconds: Length of a row in seconds after resampling.
        num_rows: Number of rows after resampling.
    """
    if seconds == new_seconds and num_rows == len(weights):
        return weights
    centres = (np.arange(num_rows) + 0.5) * new_seconds
    return weights[np.minimum((centres / seconds).astype(np.int64), len(weights) - 1)]


@dataclass(frozen=True)
class Matching:
    """A one-to-one matching of the experts of two runs.

    Attributes:
        pairs: Indices of matched experts, in the order of the first run.
        unmatched_a: Experts of the first run without a partner.
        unmatched_b: Experts of the second run without a partner.
    """

    pairs: tuple[tuple[int, int], ...]
    unmatched_a: tuple[int, ...]
    unmatched_b: tuple[int, ...]

    def of_pairs(self, table: NDArray[np.generic]) -> Floats:
        """Sums a table over the matched pairs.

        Args:
            table: Table of shape (..., experts of a, experts of b).

        Returns:
            Shape (...).
        """
        rows, columns = [i for i, _ in self.pairs], [j for _, j in self.pairs]
        total: Floats = table[..., rows, columns].sum(axis=-1, dtype=np.float64)
        return total

    def slots(self) -> list[tuple[int | None, int | None]]:
        """The pairs, then the unmatched experts of the first and of the second run."""
        only_a: list[tuple[int | None, int | None]] = [(i, None) for i in self.unmatched_a]
        only_b: list[tuple[int | None, int | None]] = [(None, j) for j in self.unmatched_b]
        return [*self.pairs, *only_a, *only_b]


def match(shared: NDArray[np.generic]) -> Matching:
    """The one-to-one assignment that maximises the shared weight (Kuhn 1955, Crouse 2016).

    Experts that share no weight are not matched, so an unused expert has no partner.

    Args:
        shared: Shared weight, shape (experts of a, experts of b), at least 0.
    """
    rows, columns = linear_sum_assignment(shared, maximize=True)
    pairs = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if shared[i, j] > 0]
    with_partner_a, with_partner_b = {i for i, _ in pairs}, {j for _, j in pairs}
    return Matching(
        tuple(pairs),
        tuple(i for i in range(shared.shape[0]) if i not in with_partner_a),
        tuple(j for j in range(shared.shape[1]) if j not in with_partner_b),
    )


def in_slots(table: Floats, experts: Sequence[int | None]) -> Floats:
    """Reorders columns to slots, with 0 where the run has no expert.

    Args:
        table: Table of shape (..., experts).
        experts: Expert of each slot, or None.

    Returns:
        Table of shape (..., slots).
    """
    padded = np.concatenate([table, np.zeros((*table.shape[:-1], 1))], axis=-1)
    return padded[..., [-1 if expert is None else expert for expert in experts]]
