"""Intervals, clusters, tests and decompositions of the mean weights of a report.

Legend: U utterances, P phonemes, E experts, S speakers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import pdist
from scipy.special import ndtr, stdtrit

from phoneme_moe.report.document_parts import Clustering, Correctness, Edges, MeanWeights
from phoneme_moe.report.routing_sums import Counts, Floats, Masses, RoutingSums
from phoneme_moe.report.significance import SignificanceTest, by_name, significance_tests
from phoneme_moe.report.statistics import RoutingReport, summarize

#: Coverage of the intervals of mean weights.
CONFIDENCE = 0.95
#: Number of utterances up to which their range misses the median too often: 2 / 2^n > 0.01.
_FEW = 8
#: Limit of utterances resampled at once in the bootstrap, over all draws.
_DRAWN_AT_ONCE = 2**22
#: Maximum number of speakers for optimal leaf ordering, which takes cubic time.
_MOST_ORDERED = 500
#: Entropy in nats below which mean weights count as a single expert (effective number 1.01).
_CERTAIN = 0.01


@dataclass(frozen=True, eq=False)
class Specialisation:
    """Statistics beyond ``RoutingReport``; lists of speakers have its order.

    Attributes:
        weight_intervals: 95 % interval of every mean weight, shape (speakers, experts, 2), from
            resampled utterances; 0 to 1 for a speaker with a single utterance.
        adjusted_weights: Mean weights with every speaker reweighted to the same phoneme mix, shape
            (speakers, experts); None if no phoneme occurs for all.
        adjusted_phonemes: Names of the phonemes in that mix; None if there is none.
        clustering: Clustering of the speakers; None for one speaker or one expert.
        mixing: Each speaker's entropy within rows as a fraction of that of its mean weights, from 0
            (switching) to 1 (a constant mixture); None if a single expert has all the weight.
        credit: Mean credit of each expert in each speaker's rows with a phoneme, shape (speakers,
            experts); NaN for a speaker without such rows. None if experts have no posteriors or
            no speaker has such rows.
        tests: Permutation tests.
        edges: Mean weights of steady rows and of first or last rows of a phoneme; None unless there
            are both.
        correctness: Mean weights of right and of wrong rows; None unless there are both.
    """

    weight_intervals: Floats
    adjusted_weights: Floats | None
    adjusted_phonemes: tuple[str, ...] | None
    clustering: Clustering | None
    mixing: tuple[float | None, ...]
    credit: Floats | None
    tests: tuple[SignificanceTest, ...]
    edges: Edges | None
    correctness: Correctness | None


def specialise(sums: RoutingSums, *, draws: int = 999, seed: int = 0) -> Specialisation:
    """Computes the specialisation of experts.

    Args:
        sums: The routing of a split.
        draws: Number of bootstrap samples, and of permutations per test.
        seed: Random seed of both.
    """
    report = summarize(sums)
    edges = _mean_weights(sums.edge_rows, sums.edge_mass)
    right = _mean_weights(sums.right_rows, sums.right_mass)
    common = np.asarray((report.speaker_phoneme_rows > 0).all(axis=0))
    return Specialisation(
        weight_intervals=_intervals(sums, draws, np.random.default_rng(seed)),
        adjusted_weights=_adjusted(report, common) if common.any() else None,
        adjusted_phonemes=tuple(np.array(report.phonemes)[common].tolist()) or None,
        clustering=_cluster(report.weights),
        mixing=_mixing(report),
        credit=_credit(sums),
        tests=significance_tests(sums, draws=draws, seed=seed),
        edges=None if edges is None else Edges(steady=edges[0], edge=edges[1]),
        correctness=None
        if right is None
        else Correctness(
            wrong=right[0],
            right=right[1],
            unjudged=int(sums.rows.sum()) - int(sums.right_rows.sum()),
        ),
    )


def _intervals(sums: RoutingSums, draws: int, random: np.random.Generator) -> Floats:
    """Bootstrap intervals over the utterances of each speaker, shape (speakers, experts, 2).

    Percentiles of bootstrap means, widened as for Student's t, since otherwise few utterances give
    intervals that are too narrow (Hesterberg, "What teachers should know about the bootstrap", The
    American Statistician 2015). Percentiles stay within the observed range, so for very few
    utterances the interval is the mean plus or minus Student's t times the standard deviation of
    bootstrap means.
    """
    order = by_name(sums)
    mass = sums.mass.sum(axis=1)
    rows = sums.rows.sum(axis=1)
    intervals = np.empty((len(sums.speakers), len(sums.experts), 2))
    grouped = order[np.argsort(sums.speaker[order], kind="stable")]
    bounds = np.cumsum(np.bincount(sums.speaker))[:-1]
    for interval, utterances in zip(intervals, np.split(grouped, bounds), strict=True):
        number = len(utterances)
        if number == 1:
            interval[:] = 0, 1
            continue
        # The number of rows is summed like an additional expert.
        totals = np.column_stack([mass[utterances], rows[utterances]]).astype(np.float64)
        means = np.empty((draws, len(sums.experts)))
        step = max(1, _DRAWN_AT_ONCE // number)
        for start in range(0, draws, step):
            size = min(step, draws - start)
            drawn = random.integers(number, size=(size, number)) + number * np.arange(size)[:, None]
            times = np.bincount(drawn.ravel(), minlength=size * number).reshape(size, number)
            redrawn = times.astype(np.float64) @ totals
            means[start : start + size] = redrawn[:, :-1] / redrawn[:, -1:]
        far = np.sqrt(number / (number - 1)) * stdtrit(number - 1, (1 + CONFIDENCE) / 2)
        if number < _FEW:
            mean = totals[:, :-1].sum(axis=0) / totals[:, -1].sum()
            width = far * means.std(axis=0)
            interval[:] = np.column_stack([mean - width, mean + width]).clip(0, 1)
        else:
            interval[:] = np.quantile(means, [ndtr(-far), ndtr(far)], axis=0).T
    return intervals


def _adjusted(report: RoutingReport, common: NDArray[np.bool_]) -> Floats:
    """Mean weights of every speaker under the split's mix of the common phonemes."""
    mix = report.phoneme_rows[common] / report.phoneme_rows[common].sum()
    adjusted: Floats = np.einsum("p,spe->se", mix, report.speaker_phoneme_weights[:, common])
    return adjusted


def _cluster(weights: Floats) -> Clustering | None:
    """Average linkage on the Hellinger distance of the mean weights, shape (speakers, experts)."""
    if min(weights.shape) < 2:
        return None
    distances = pdist(np.sqrt(weights / 2))
    tree = linkage(distances, method="average")
    if len(weights) <= _MOST_ORDERED:
        tree = optimal_leaf_ordering(tree, distances)
    speakers = leaves_list(tree)
    # Squares give more weight to the speakers that use the expert most.
    pull = weights[speakers] ** 2
    used = pull.sum(axis=0)
    place = np.full(len(used), np.inf)
    np.divide(np.arange(len(speakers)) @ pull, used, out=place, where=used > 0)
    return Clustering(
        speaker_order=speakers.tolist(),
        expert_order=np.argsort(place, kind="stable").tolist(),
        linkage=tree.tolist(),
    )


def _mixing(report: RoutingReport) -> tuple[float | None, ...]:
    """Mean entropy of the rows as a fraction of the entropy of the mean weights."""
    inside, total = np.log(report.effective_per_row), np.log(report.effective_experts)
    return tuple(
        min(float(one / all_rows), 1.0) if all_rows > _CERTAIN else None
        for one, all_rows in zip(inside, total, strict=True)
    )


def _credit(sums: RoutingSums) -> Floats | None:
    """Mean credit of each speaker over rows with a phoneme, shape (speakers, experts)."""
    rows = sums.sum_by_speaker(sums.rows[:, 1:].sum(axis=1))
    if sums.credit is None or not rows.any():
        return None
    credit = sums.sum_by_speaker(sums.credit)
    mean = np.full(credit.shape, np.nan)
    np.divide(credit, rows[:, None], out=mean, where=rows[:, None] > 0)
    return mean


def _mean_weights(rows: Counts, mass: Masses) -> list[MeanWeights] | None:
    """Mean weights of two kinds of rows; None unless there are both."""
    totals = rows.sum(axis=0)
    if not totals.all():
        return None
    weights = mass.sum(axis=0, dtype=np.float64) / totals[:, None]
    return [
        MeanWeights(rows=int(total), weights=row.tolist())
        for total, row in zip(totals, weights.round(6), strict=True)
    ]
