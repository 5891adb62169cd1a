"""Agreement of two routings beyond chance, with intervals.

Chance is the agreement that remains when the utterances of one run are shuffled, concatenated
alongside those of the other, and experts are matched again. This preserves the loads of the experts
and the sequences within utterances. What remains when shuffling within speakers is due to the
speaker.

Legend: U utterances, N rows, A and B experts of either run, D draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.report.compare.document import Agreement, AgreementMeasure
from phoneme_moe.report.compare.matching import Counts, Floats, Matching, PairedRouting, match

BOOTSTRAP_DRAWS = 1000
SHUFFLES = 200
#: Pairs of weights to compare in a shuffle; larger splits are sampled.
_SHUFFLED_CELLS = 4_000_000
#: Utterances of a speaker that are sampled together.
_TOGETHER = 20
#: Memory limit of bootstrap draws that are computed together.
_CHUNK = 100

_MEASURES: tuple[Literal["weight", "first_expert", "information"], ...] = (
    "weight",
    "first_expert",
    "information",
)
_OF_SPEAKER = ("speaker_chance", "speaker_corrected", "speaker_p")


def agreements(
    paired: PairedRouting,
    matching: Matching,
    shared: NDArray[np.float32],
    firsts: Counts,
    speaker: Counts,
) -> Agreement:
    """Computes all measures of agreement (see ``AgreementMeasure``).

    Args:
        paired: Routing of both runs.
        matching: Matching of experts over all rows.
        shared: ``paired.shared()``, shape (utterances, experts of a, experts of b).
        firsts: ``paired.firsts()``, the same shape.
        speaker: Index of each utterance's speaker, shape (utterances,).
    """
    values = _measure(
        matching.of_pairs(shared.sum(axis=0, dtype=np.float64)),
        matching.of_pairs(firsts.sum(axis=0)),
        firsts.sum(axis=0),
    )
    intervals = np.quantile(_bootstrap(matching, shared, firsts), [0.025, 0.975], axis=0)
    if len(speaker) == 1:
        intervals = np.array([[0.0], [1.0]]).repeat(len(values), axis=1)  # resampling shows nothing
    chance = _shuffled(paired, np.zeros_like(speaker)) if len(speaker) > 1 else None
    within = _shuffled(paired, speaker) if (np.bincount(speaker) > 1).any() else None
    measures = []
    for i, (measure, value) in enumerate(zip(_MEASURES, values.tolist(), strict=True)):
        low, high = intervals[:, i].tolist()
        any_utterance = chance.beyond(i, value) if chance else (None, None, None)
        same_speaker = within.beyond(i, value) if within else (None, None, None)
        measures.append(
            AgreementMeasure(
                measure=measure,
                value=value,
                interval=(low, high),
                **dict(zip(("chance", "corrected", "p"), any_utterance, strict=True)),
                **dict(zip(_OF_SPEAKER, same_speaker, strict=True)),
            )
        )
    return Agreement(shuffles=SHUFFLES, measures=measures)


def normalized_information(firsts: NDArray[np.generic]) -> Floats:
    """Mutual information of two choices divided by the mean of their entropies, 0..1.

    Args:
        firsts: Counts of each pair of choices, shape (..., experts of a, experts of b).

    Returns:
        Normalised mutual information, shape (...); 1 if both choices are constant.
    """
    joint = firsts / np.maximum(firsts.sum(axis=(-2, -1), keepdims=True), 1)
    entropy_a, entropy_b = _entropy(joint.sum(axis=-1)), _entropy(joint.sum(axis=-2))
    mutual = entropy_a + entropy_b - _entropy(joint.reshape(*joint.shape[:-2], -1))
    mean = (entropy_a + entropy_b) / 2
    normalized = np.divide(mutual, mean, out=np.ones_like(mean), where=mean > 0)
    return np.clip(normalized, 0.0, 1.0)


def _entropy(shares: Floats) -> Floats:
    logs = np.log(np.where(shares > 0, shares, 1.0))
    entropy: Floats = -(shares * logs).sum(axis=-1)
    return entropy


def _measure(shared: float | Floats, same: float | Floats, firsts: NDArray[np.generic]) -> Floats:
    """The three measures from sums over rows; each row counts in one cell of ``firsts``."""
    rows = np.maximum(firsts.sum(axis=(-2, -1)), 1)
    values = np.stack([shared / rows, same / rows, normalized_information(firsts)], axis=-1)
    measures: Floats = np.minimum(values, 1.0)
    return measures


def _bootstrap(matching: Matching, shared: NDArray[np.float32], firsts: Counts) -> Floats:
    """The measures for utterances resampled with replacement, shape (draws, measures)."""
    num_utterances = len(firsts)
    of_pairs, same = matching.of_pairs(shared), matching.of_pairs(firsts)
    flat = firsts.reshape(num_utterances, -1).astype(np.float64)
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(BOOTSTRAP_DRAWS // _CHUNK):
        drawn = generator.multinomial(
            num_utterances, np.full(num_utterances, 1 / num_utterances), size=_CHUNK
        ).astype(np.float64)
        tables = (drawn @ flat).reshape(_CHUNK, *firsts.shape[1:])
        draws.append(_measure(drawn @ of_pairs, drawn @ same, tables))
    return np.concatenate(draws)


@dataclass(frozen=True, eq=False)
class _Shuffles:
    """Agreement when utterances are shuffled.

    Attributes:
        observed: Measures of the same utterances without shuffling, shape (measures,).
        everywhere: Measures of each shuffle, shape (draws, measures).
        displaced: Measures over rows paired with a different utterance, shape (draws, measures).
    """

    observed: Floats
    everywhere: Floats
    displaced: Floats

    def beyond(self, measure: int, value: float) -> tuple[float, float | None, float]:
        """Chance level, the value corrected for chance, and p."""
        chance = float(self.displaced[:, measure].mean())
        # Summation in a different order changes the last digits.
        as_great = int((self.everywhere[:, measure] >= self.observed[measure] - 1e-6).sum())
        corrected = (value - chance) / (1 - chance) if chance < 1 - 1e-6 else None
        return chance, corrected, (1 + as_great) / (1 + len(self.everywhere))


def _shuffled(paired: PairedRouting, group: Counts) -> _Shuffles | None:
    """Shuffles the utterances of the second run within groups.

    A group has equally many rows in both runs, so when groups are concatenated every row is paired
    with one of its group, whatever the lengths of utterances. Small groups often leave an utterance
    in its place: p includes such rows, the chance level does not.

    Args:
        paired: Routing of both runs.
        group: Group of each utterance, shape (utterances,).

    Returns:
        The shuffles; None if no group has two utterances.
    """
    generator = np.random.default_rng(0)
    chosen = _sample(paired, group, generator)
    chosen = chosen[np.argsort(group[chosen], kind="stable")]
    places = np.repeat(np.arange(len(chosen)), paired.lengths[chosen])
    a = paired.a[_rows(paired, chosen)]
    everywhere, displaced = [], []
    for draw in range(1 + SHUFFLES):
        order = np.arange(len(chosen))
        if draw > 0:  # the first one is the observed order
            order = np.lexsort((generator.random(len(chosen)), group[chosen]))
        stays = np.repeat(order, paired.lengths[chosen[order]]) == places
        # Rows that stay come first, so that both parts are summed at once.
        rows = np.argsort(~stays, kind="stable")
        b = paired.b[_rows(paired, chosen[order])]
        parts = np.array([int(stays.sum()), int((~stays).sum())])
        both = PairedRouting(a[rows], b[rows], parts)
        shared, firsts = both.shared(), both.firsts()
        everywhere.append(_matched_anew(shared.sum(axis=0), firsts.sum(axis=0)))
        if parts[1] > 0:
            displaced.append(_matched_anew(shared[1], firsts[1]))
    if not displaced:
        return None
    return _Shuffles(everywhere[0], np.stack(everywhere[1:]), np.stack(displaced))


def _matched_anew(shared: NDArray[np.float32], firsts: Counts) -> Floats:
    partners = match(shared)
    return _measure(partners.of_pairs(shared), partners.of_pairs(firsts), firsts)


def _sample(paired: PairedRouting, group: Counts, generator: np.random.Generator) -> Counts:
    """A random sample of the utterances, small enough to be shuffled many times.

    Groups are sampled with more than one utterance, since a single one could not be shuffled.
    """
    active = np.count_nonzero(paired.a) / len(paired.a)
    limit = max(1000, int(_SHUFFLED_CELLS / (active * paired.b.shape[1])))
    order: Counts = generator.permutation(len(paired.lengths))
    by_group = order[
        np.argsort(generator.permutation(group.max() + 1)[group[order]], kind="stable")
    ]
    starts = np.flatnonzero(np.diff(group[by_group], prepend=-1))
    rank = np.arange(len(by_group)) - np.repeat(starts, np.diff(starts, append=len(by_group)))
    in_turn = by_group[np.argsort(rank // _TOGETHER, kind="stable")]
    count = int(np.searchsorted(np.cumsum(paired.lengths[in_turn]), limit)) + 1
    return in_turn[: max(2, count)]


def _rows(paired: PairedRouting, utterances: Sequence[int] | Counts) -> Counts:
    """Concatenated row indices of some utterances."""
    lengths = paired.lengths[utterances]
    before = np.cumsum(lengths) - lengths
    shift = np.repeat(paired.starts[utterances] - before, lengths)
    rows: Counts = np.arange(len(shift)) + shift
    return rows
