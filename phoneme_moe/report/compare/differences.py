"""Differences between two runs: routing by speaker, hypotheses, utterances that differ.

Legend: U utterances, K slots (pairs of experts, then experts without a partner), D draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from phoneme_moe.decoding.scoring import align_phonemes, score_utterance
from phoneme_moe.report.compare.matching import Counts, Floats

DRAWS = 1000
FALSE_DISCOVERIES = 0.05
"""False discovery rate below which a change is significant."""


@dataclass(frozen=True, eq=False)
class RoutingChange:
    """Change of the routing of one speaker's utterances.

    Attributes:
        before: Mean weight of each slot in the first run, shape (slots,), sums to 1.
        after: Likewise in the second run.
        distance: Total variation distance between the two, 0..1.
        interval: 95 % interval of the distance, bootstrap over utterances; 0 to 1 for a single one.
        p: Probability of a distance at least as great when the runs are exchanged at random in each
            utterance.
    """

    before: Floats
    after: Floats
    distance: float
    interval: tuple[float, float]
    p: float


def routing_change(before: Floats, after: Floats, rows: Counts) -> RoutingChange:
    """Compares mean weights over the same utterances.

    Args:
        before: Summed weights of the first run, shape (utterances, slots).
        after: Likewise of the second run.
        rows: Number of rows of each utterance, shape (utterances,).
    """
    change, total = after - before, max(int(rows.sum()), 1)
    distance = float(np.abs(change.sum(axis=0)).sum() / total / 2)
    generator = np.random.default_rng(0)
    count = len(rows)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)
    lengths = np.maximum(drawn @ rows, 1)
    distances = np.abs(drawn @ change).sum(axis=1) / lengths / 2
    low, high = np.quantile(distances, [0.025, 0.975]) if count > 1 else (0.0, 1.0)
    signs = generator.choice([-1.0, 1.0], size=(DRAWS, count))
    swapped = np.abs(signs @ change).sum(axis=1) / total / 2
    p = (1 + int((swapped >= distance - 1e-9).sum())) / (1 + DRAWS)
    return RoutingChange(
        before.sum(axis=0) / total,
        after.sum(axis=0) / total,
        distance,
        (float(low), float(high)),
        p,
    )


def controlled(p_values: Sequence[float]) -> list[dict[str, Any]]:
    """Fields ``q`` and ``significant`` of tests that are reported together.

    ``q`` is the false discovery rate at which a test would be significant (Benjamini & Hochberg
    1995).

    Args:
        p_values: The p values of the tests, at least one.
    """
    adjusted = false_discovery_control(p_values)
    return [{"q": float(q), "significant": bool(q <= FALSE_DISCOVERIES)} for q in adjusted]


Column = tuple[str | None, str | None, str | None]
"""Phonemes of reference, hypothesis A and hypothesis B; None for a gap."""


def side_by_side(reference: Sequence[str], a: Sequence[str], b: Sequence[str]) -> list[Column]:
    """Aligns two hypotheses with their reference, each with the fewest errors.

    Phonemes inserted at the same place share columns.

    Args:
        reference: Phonemes of the reference.
        a: Hypothesis of the first run.
        b: Hypothesis of the second run.
    """
    matched_a, inserted_a = _align(reference, a)
    matched_b, inserted_b = _align(reference, b)
    columns: list[Column] = []
    for place in range(len(reference) + 1):
        columns += [(None, *pair) for pair in zip_longest(inserted_a[place], inserted_b[place])]
        if place < len(reference):
            columns.append((reference[place], matched_a[place], matched_b[place]))
    return columns


def _align(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> tuple[list[str | None], list[list[str]]]:
    """The phoneme aligned with each reference phoneme, and insertions before each and at end."""
    matched: list[str | None] = [None] * len(reference)
    inserted: list[list[str]] = [[] for _ in range(len(reference) + 1)]
    place = 0
    for i, j in align_phonemes(reference, hypothesis):
        if i is not None:
            matched[i] = None if j is None else hypothesis[j]
            place = i + 1
        elif j is not None:
            inserted[place].append(hypothesis[j])
    return matched, inserted


def hypothesis_distance(a: Sequence[str], b: Sequence[str]) -> float:
    """Levenshtein distance of two hypotheses divided by the longer length, 0..1."""
    return score_utterance(a, b).errors / max(len(a), len(b), 1)


def turns(choices: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Run-length encoding of a sequence: ``(choice, number of rows)``.

    Args:
        choices: Chosen slot of each row, shape (rows,).
    """
    starts = np.flatnonzero(np.diff(choices, prepend=-2))
    lengths = np.diff(starts, append=len(choices))
    return list(zip(choices[starts].tolist(), lengths.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Differences:
    """How much each utterance differs between two runs, and what breaks ties.

    Attributes:
        transcription: Distance of the hypotheses, 0..1, shape (utterances,).
        routing: Weight that is not shared, 0..1, shape (utterances,); None without routing.
        errors: Change of the number of errors, shape (utterances,).
        speaker: Index of the speaker, shape (utterances,).
        speaker_change: Change of each speaker's error rate, shape (speakers,).
    """

    transcription: Floats
    routing: Floats | None
    errors: Counts
    speaker: Counts
    speaker_change: Floats

    def ranked(self, values: Floats) -> list[int]:
        """Utterances with a value above 0, greatest first.

        Of equal ones those whose number of errors changes most come first, then the speakers take
        turns, those whose error rate changes most first: most tokens differ by as much, and would
        otherwise all be of the speaker who is first in the alphabet.
        """
        changed = np.abs(self.errors)
        own = np.zeros_like(values) if self.routing is None else self.routing
        by_speaker = np.lexsort((-own, -changed, -values.round(6), self.speaker))
        turn = np.empty(len(values), dtype=np.int64)
        keys = np.column_stack([self.speaker, values.round(6), changed])[by_speaker]
        first = np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)]
        places = np.arange(len(values))
        turn[by_speaker] = places - np.maximum.accumulate(np.where(first, places, 0))
        largest = np.abs(self.speaker_change)[self.speaker]
        order = np.lexsort((places, -largest, turn, -changed, -values.round(6)))
        return [int(i) for i in order if values[i] > 1e-6]


def most_different(
    differences: Differences, limit: int = 20
) -> list[tuple[int, Literal["transcription", "routing"]]]:
    """Selects the utterances that differ most, half by each measure.

    Args:
        differences: Differences of all utterances.
        limit: Maximum number; utterances without a difference are never selected.

    Returns:
        Index and measure (``transcription`` or ``routing``) of each, those by transcription first,
        in descending order of difference.
    """
    ordered = differences.ranked(differences.transcription)
    routing = differences.routing
    ordered_by_routing = [] if routing is None else differences.ranked(routing)
    by_words = ordered[: max(limit // 2, limit - len(ordered_by_routing))]
    by_routing = [i for i in ordered_by_routing if i not in set(by_words)]
    by_routing = by_routing[: limit - len(by_words)]
    # If routing selects fewer than half, transcription fills the rest.
    rest = [i for i in ordered[len(by_words) :] if i not in set(by_routing)]
    by_words += rest[: limit - len(by_words) - len(by_routing)]
    return [*((i, "transcription") for i in by_words), *((i, "routing") for i in by_routing)]
