"""How sure the means of a report are, what is behind them, and whether they are more than chance.

Legend: U utterances, P phonemes, E experts, S speakers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import pdist
from scipy.special import ndtr, stdtrit

from phoneme_moe.report.routing_sums import Counts, Floats, Masses, RoutingSums
from phoneme_moe.report.significance import SignificanceTest, by_name, significance_tests
from phoneme_moe.report.statistics import RoutingReport, summarize

#: Chance that the mean of a speaker's next utterances lies in its interval.
CONFIDENCE = 0.95
#: Utterances whose range misses the truth in more than one case of a hundred: 2 / 2^n > 0.01.
_FEW = 8
#: Utterances drawn at once for the bootstrap, over all draws.
_DRAWN_AT_ONCE = 2**22
#: Of more speakers the leaves stay as the linkage has them: the best order takes cubic time.
_MOST_ORDERED = 500
#: Nats; mean weights of less entropy are one expert's (1.01 in effect), and mix nothing.
_CERTAIN = 0.01


@dataclass(frozen=True, eq=False)
class Clustering:
    """Speakers (and experts) put in an order in which the alike are neighbours.

    Attributes:
        speaker_order: Indices of the speakers as leaves of the tree.
        expert_order: Indices of the experts, by where in that order their users are; experts that
            nobody uses last.
        linkage: scipy's linkage matrix over the speakers, shape (speakers - 1, 4): the two
            clusters joined, their distance (Hellinger, 0..1), speakers in them.
    """

    speaker_order: tuple[int, ...]
    expert_order: tuple[int, ...]
    linkage: Floats


@dataclass(frozen=True, eq=False)
class Part:
    """Mean weights of one kind of rows.

    Attributes:
        rows: How many there are.
        weights: Mean weight of each expert in them, shape (experts,).
    """

    rows: int
    weights: Floats


@dataclass(frozen=True, eq=False)
class Specialisation:
    """What ``RoutingReport`` does not say; lists of speakers run parallel to its speakers.

    Attributes:
        weight_intervals: 95 % interval of every mean weight, shape (speakers, experts, 2), from
            utterances drawn again; 0 to 1 for a speaker with one utterance, of whom it says
            nothing.
        adjusted_weights: Mean weights as if every speaker said the same phoneme mix, shape
            (speakers, experts); None where there is no phoneme that all say.
        adjusted_phonemes: Names of the phonemes in that mix; None where there is none.
        clustering: None for one speaker or one expert.
        mixing: For each speaker the part of the spread of its mean weights that is there inside
            one row already, 0 (switching) to 1 (a steady blend); None where there is no spread.
        credit: Mean credit of each expert in each speaker's rows with a phoneme, shape (speakers,
            experts); NaN for a speaker without such rows. None where experts have no posteriors
            of their own, or nobody has such rows.
        tests: Permutation tests.
        edges: Steady rows and first or last rows of a phoneme; None unless there are both.
        correctness: Rows whose phoneme the model got right, and wrong; None unless there are both.
    """

    weight_intervals: Floats
    adjusted_weights: Floats | None
    adjusted_phonemes: tuple[str, ...] | None
    clustering: Clustering | None
    mixing: tuple[float | None, ...]
    credit: Floats | None
    tests: tuple[SignificanceTest, ...]
    edges: dict[str, Part] | None
    correctness: dict[str, Part] | None

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers (weights to six decimals), as docs/routing.md names them."""
        tree = self.clustering
        return {
            "weight_intervals": _plain(self.weight_intervals),
            "adjusted_weights": _plain(self.adjusted_weights),
            "adjusted_phonemes": _listed(self.adjusted_phonemes),
            "clustering": None
            if tree is None
            else {
                "speaker_order": list(tree.speaker_order),
                "expert_order": list(tree.expert_order),
                "linkage": [
                    [int(one), int(other), distance, int(count)]
                    for one, other, distance, count in tree.linkage.tolist()
                ],
            },
            "mixing": list(self.mixing),
            "credit": None
            if self.credit is None
            else [None if np.isnan(row[0]) else _plain(row) for row in self.credit],
            "tests": [
                {
                    "name": test.name,
                    "scope": test.scope,
                    "value": test.value,
                    "chance": test.chance,
                    "corrected": test.corrected,
                    "unit": test.unit,
                    "p": test.p,
                    "q": test.q,
                    "significant": test.significant,
                    "draws": test.draws,
                }
                for test in self.tests
            ],
            "edges": _parts_json(self.edges),
            "correctness": _parts_json(self.correctness),
        }


def specialise(accumulated: RoutingSums, *, draws: int = 999, seed: int = 0) -> Specialisation:
    """Intervals, adjusted means, clusters, blend or switch, credit, tests, edges, right and wrong.

    Args:
        accumulated: The routing of a split.
        draws: Bootstrap samples, and permutations of each test.
        seed: Of both.
    """
    report = summarize(accumulated)
    common = np.asarray((report.speaker_phoneme_rows > 0).all(axis=0))
    return Specialisation(
        weight_intervals=_intervals(accumulated, draws, np.random.default_rng(seed)),
        adjusted_weights=_adjusted(report, common) if common.any() else None,
        adjusted_phonemes=tuple(
            name for name, said in zip(report.phonemes, common, strict=True) if said
        )
        or None,
        clustering=_cluster(report.weights),
        mixing=_mixing(report),
        credit=_credit(accumulated),
        tests=significance_tests(accumulated, draws=draws, seed=seed),
        edges=_parts(("steady", "edge"), accumulated.edge_rows, accumulated.edge_mass),
        correctness=_parts(("wrong", "right"), accumulated.right_rows, accumulated.right_mass),
    )


def _intervals(accumulated: RoutingSums, draws: int, random: np.random.Generator) -> Floats:
    """Bootstrap over the utterances of each speaker, shape (speakers, experts, 2).

    Percentiles of the means of redrawn utterances, taken further out as for Student's t, without
    which few utterances give intervals too short (Hesterberg, "What teachers should know about the
    bootstrap", The American Statistician 2015). Percentiles never leave the range of what was seen,
    so very few utterances get the mean and Student's t times the spread of the redrawn means.
    """
    order = by_name(accumulated)
    mass = accumulated.mass.sum(axis=1)
    rows = accumulated.rows.sum(axis=1)
    intervals = np.empty((len(accumulated.speakers), len(accumulated.experts), 2))
    grouped = order[np.argsort(accumulated.speaker[order], kind="stable")]
    bounds = np.cumsum(np.bincount(accumulated.speaker))[:-1]
    for interval, mine in zip(intervals, np.split(grouped, bounds), strict=True):
        number = len(mine)
        if number == 1:
            interval[:] = 0, 1
            continue
        # The row count is summed as one more expert.
        sums = np.column_stack([mass[mine], rows[mine]]).astype(np.float64)
        means = np.empty((draws, len(accumulated.experts)))
        step = max(1, _DRAWN_AT_ONCE // number)
        for start in range(0, draws, step):
            size = min(step, draws - start)
            drawn = random.integers(number, size=(size, number)) + number * np.arange(size)[:, None]
            times = np.bincount(drawn.ravel(), minlength=size * number).reshape(size, number)
            redrawn = times.astype(np.float64) @ sums
            means[start : start + size] = redrawn[:, :-1] / redrawn[:, -1:]
        far = np.sqrt(number / (number - 1)) * stdtrit(number - 1, (1 + CONFIDENCE) / 2)
        if number < _FEW:
            mean = sums[:, :-1].sum(axis=0) / sums[:, -1].sum()
            width = far * means.std(axis=0)
            interval[:] = np.column_stack([mean - width, mean + width]).clip(0, 1)
        else:
            interval[:] = np.quantile(means, [ndtr(-far), ndtr(far)], axis=0).T
    return intervals


def _adjusted(report: RoutingReport, common: NDArray[np.bool_]) -> Floats:
    """Mean weights of every speaker under the split's own mix of the common phonemes."""
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
    # The squares pull an expert to its heaviest users.
    pull = weights[speakers] ** 2
    used = pull.sum(axis=0)
    place = np.full(len(used), np.inf)
    np.divide(np.arange(len(speakers)) @ pull, used, out=place, where=used > 0)
    return Clustering(
        speaker_order=tuple(speakers.tolist()),
        expert_order=tuple(np.argsort(place, kind="stable").tolist()),
        linkage=tree,
    )


def _mixing(report: RoutingReport) -> tuple[float | None, ...]:
    """Mean entropy of the rows as a part of the entropy of the mean weights."""
    inside, total = np.log(report.effective_per_row), np.log(report.effective_experts)
    return tuple(
        min(float(one / all_rows), 1.0) if all_rows > _CERTAIN else None
        for one, all_rows in zip(inside, total, strict=True)
    )


def _credit(accumulated: RoutingSums) -> Floats | None:
    """Mean credit per speaker over its rows with a phoneme, shape (speakers, experts)."""
    rows = accumulated.sum_by_speaker(accumulated.rows[:, 1:].sum(axis=1))
    if accumulated.credit is None or not rows.any():
        return None
    credit = accumulated.sum_by_speaker(accumulated.credit)
    mean = np.full(credit.shape, np.nan)
    np.divide(credit, rows[:, None], out=mean, where=rows[:, None] > 0)
    return mean


def _parts(names: tuple[str, str], rows: Counts, mass: Masses) -> dict[str, Part] | None:
    """Mean weights of two kinds of rows; None unless there are both."""
    number = rows.sum(axis=0)
    if not number.all():
        return None
    sums = mass.sum(axis=0, dtype=np.float64)
    return {name: Part(int(number[i]), sums[i] / number[i]) for i, name in enumerate(names)}


def _parts_json(parts: dict[str, Part] | None) -> dict[str, Any] | None:
    if parts is None:
        return None
    return {
        name: {"rows": part.rows, "weights": _plain(part.weights)} for name, part in parts.items()
    }


def _plain(values: Floats | None) -> list[Any] | None:
    """An array as lists, to six decimals."""
    if values is None:
        return None
    plain: list[Any] = np.round(values, 6).tolist()
    return plain


def _listed(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)
