"""What changes from one run to another: for each speaker, and in which utterances most.

Legend: U utterances, K slots (pairs of experts, then experts without a partner), D draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from phoneme_moe.report.compare.matching import Counts, Floats

DRAWS = 1000
FALSE_DISCOVERIES = 0.05
"""A change is real where at most this part of such findings would be chance."""


@dataclass(frozen=True, eq=False)
class RoutingChange:
    """How the routing of one speaker's utterances changes.

    Attributes:
        before: Mean weight of each slot in the first run, shape (slots,), sum 1.
        after: In the second run.
        distance: Total variation between the two, 0..1: the weight that goes elsewhere.
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


def controlled(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds ``q`` and ``significant`` to findings that are told side by side.

    ``q`` is the false discovery rate at which a finding would be called real (Benjamini &
    Hochberg 1995).

    Args:
        findings: At least one; each with its ``p``.
    """
    adjusted = false_discovery_control([finding["p"] for finding in findings])
    return [
        {**finding, "q": float(q), "significant": bool(q <= FALSE_DISCOVERIES)}
        for finding, q in zip(findings, adjusted, strict=True)
    ]


@dataclass(frozen=True)
class Column:
    """What stands in one place of an alignment; None where nothing does.

    Attributes:
        reference: What was said.
        a: What the first run heard.
        b: What the second run heard.
    """

    reference: str | None
    a: str | None
    b: str | None


def side_by_side(reference: Sequence[str], a: Sequence[str], b: Sequence[str]) -> list[Column]:
    """Two hypotheses beside their reference, each aligned with it at the fewest errors.

    Phonemes that both put in at the same place share columns.

    Args:
        reference: Phonemes that were spoken.
        a: Phonemes that the first run recognised.
        b: Phonemes that the second run recognised.
    """
    heard_a, extra_a = _against(reference, a)
    heard_b, extra_b = _against(reference, b)
    columns = []
    for place in range(len(reference) + 1):
        more_a, more_b = extra_a[place], extra_b[place]
        for i in range(max(len(more_a), len(more_b))):
            columns.append(
                Column(
                    None,
                    more_a[i] if i < len(more_a) else None,
                    more_b[i] if i < len(more_b) else None,
                )
            )
        if place < len(reference):
            columns.append(Column(reference[place], heard_a[place], heard_b[place]))
    return columns


def _against(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> tuple[list[str | None], list[list[str]]]:
    """What was heard for each phoneme, and what was put in before each and at the end."""
    heard: list[str | None] = [None] * len(reference)
    extra: list[list[str]] = [[] for _ in range(len(reference) + 1)]
    if not reference or not hypothesis:
        extra[-1] = list(hypothesis)
        return heard, extra
    import jiwer

    output = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    for chunk in output.alignments[0]:
        said = list(hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx])
        if chunk.type == "insert":
            extra[chunk.ref_start_idx] = said
        elif chunk.type != "delete":
            heard[chunk.ref_start_idx : chunk.ref_end_idx] = said
    return heard, extra


def distance_of(a: Sequence[str], b: Sequence[str]) -> float:
    """Levenshtein distance of two hypotheses over the length of the longer, 0..1."""
    from phoneme_moe.decoding.scoring import score_utterance

    return score_utterance(a, b).errors / max(len(a), len(b), 1)


def turns(choices: NDArray[np.int64]) -> list[tuple[int, int]]:
    """A sequence of choices as runs of the same one: ``(choice, how many rows)``.

    Args:
        choices: Shape (rows,).
    """
    starts = np.flatnonzero(np.diff(choices, prepend=-2))
    lengths = np.diff(starts, append=len(choices))
    return list(zip(choices[starts].tolist(), lengths.tolist(), strict=True))


def most_different(
    transcription: Floats, routing: Floats | None, limit: int = 20
) -> list[tuple[int, str]]:
    """The utterances that differ most, half of them by each measure.

    Args:
        transcription: Distance of the hypotheses, shape (utterances,).
        routing: Weight that goes elsewhere, shape (utterances,); None where there is none.
        limit: How many at most; those that do not differ at all are never among them.

    Returns:
        Index and ``transcription`` or ``routing``, which put it here; most different first, those
        by transcription before those by routing.
    """
    words = _greatest(transcription)
    paths = [] if routing is None else _greatest(routing)
    by_words = words[: max(limit // 2, limit - len(paths))]
    by_paths = [i for i in paths if i not in set(by_words)][: limit - len(by_words)]
    # Where routing has fewer to show than its half, words fill it.
    rest = [i for i in words[len(by_words) :] if i not in set(by_paths)]
    by_words += rest[: limit - len(by_words) - len(by_paths)]
    return [(i, "transcription") for i in by_words] + [(i, "routing") for i in by_paths]


def _greatest(values: Floats) -> list[int]:
    """Indices of what is above 0, greatest first."""
    order = np.argsort(-values, kind="stable")
    return [int(i) for i in order if values[i] > 1e-6]
