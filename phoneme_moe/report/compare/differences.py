"""Differences between two runs: routing of a speaker, aligned hypotheses, utterances that differ.

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
"""Rate at which a change is called significant."""


@dataclass(frozen=True, eq=False)
class RoutingChange:
    """How the routing of one speaker's utterances changes.

    Attributes:
        before: Mean weight of each slot in the first run, shape (slots,), sum 1.
        after: In the second run.
        distance: Total variation between the two, 0..1: the weight that moves.
        interval: 95 % interval of it, bootstrap over utterances.
        p: Probability of a distance as great if either run could have made either routing of each
            utterance (the two change places at random).
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
        after: Of the second run.
        rows: Rows of each utterance, shape (utterances,).
    """
    change, total = after - before, max(int(rows.sum()), 1)
    distance = float(np.abs(change.sum(axis=0)).sum() / total / 2)
    generator = np.random.default_rng(0)
    count = len(rows)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)
    lengths = np.maximum(drawn @ rows, 1)
    distances = np.abs(drawn @ change).sum(axis=1) / lengths / 2
    low, high = np.quantile(distances, [0.025, 0.975])
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
    """``q`` and ``significant`` of tests that are reported together.

    ``q`` is the false discovery rate at which a test would be significant (Benjamini & Hochberg
    1995).

    Args:
        p_values: At least one.
    """
    adjusted = false_discovery_control(p_values)
    return [{"q": float(q), "significant": bool(q <= FALSE_DISCOVERIES)} for q in adjusted]


Column = tuple[str | None, str | None, str | None]
"""Reference, hypothesis of A and hypothesis of B; None where one has no phoneme."""


def side_by_side(reference: Sequence[str], a: Sequence[str], b: Sequence[str]) -> list[Column]:
    """Two hypotheses beside their reference, each aligned with it at the fewest errors.

    Phonemes that both insert at the same place share columns.

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
    """The phoneme aligned with each of the reference; those inserted before each and at the end."""
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
    """Levenshtein distance of two hypotheses over the length of the longer, 0..1."""
    return score_utterance(a, b).errors / max(len(a), len(b), 1)


def turns(choices: NDArray[np.int64]) -> list[tuple[int, int]]:
    """A sequence of choices as turns of the same one: ``(choice, number of rows)``.

    Args:
        choices: Shape (rows,).
    """
    starts = np.flatnonzero(np.diff(choices, prepend=-2))
    lengths = np.diff(starts, append=len(choices))
    return list(zip(choices[starts].tolist(), lengths.tolist(), strict=True))


def most_different(
    transcription: Floats, routing: Floats | None, limit: int = 20
) -> list[tuple[int, Literal["transcription", "routing"]]]:
    """The utterances that differ most, half of them by each measure.

    Args:
        transcription: Distance of the hypotheses, shape (utterances,).
        routing: Weight not in common, shape (utterances,); None without routing.
        limit: How many at most; utterances without a difference are never among them.

    Returns:
        Index and the difference that selected it, ``transcription`` or ``routing``; most different
        first, those by transcription before those by routing.
    """
    ordered = _greatest(transcription)
    ordered_by_routing = [] if routing is None else _greatest(routing)
    by_words = ordered[: max(limit // 2, limit - len(ordered_by_routing))]
    by_routing = [i for i in ordered_by_routing if i not in set(by_words)]
    by_routing = by_routing[: limit - len(by_words)]
    # Where routing has fewer than its half, transcription fills it.
    rest = [i for i in ordered[len(by_words) :] if i not in set(by_routing)]
    by_words += rest[: limit - len(by_words) - len(by_routing)]
    return [*((i, "transcription") for i in by_words), *((i, "routing") for i in by_routing)]


def _greatest(values: Floats) -> list[int]:
    """Indices of values above 0, greatest first."""
    order = np.argsort(-values, kind="stable")
    return [int(i) for i in order if values[i] > 1e-6]
