"""The routing of two runs compared, as plain data: its parts of ``comparison.json``.

docs/schemas/comparison.schema.json describes every key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from phoneme_moe.data.examples import Example
from phoneme_moe.report.compare.agreement import SHUFFLES, agreements
from phoneme_moe.report.compare.differences import controlled, routing_change, turns
from phoneme_moe.report.compare.matching import (
    Counts,
    Floats,
    Matching,
    PairedRouting,
    Weights,
    in_slots,
    match,
    pair_rows,
)
from phoneme_moe.report.compare.paired_runs import Side


@dataclasses.dataclass(frozen=True, eq=False)
class Routings:
    """Both routings side by side, and the partners in them.

    Attributes:
        experts_a: Names of the first run's experts.
        experts_b: Names of the second run's experts.
        paired: Their weights in the same rows.
        shared: ``paired.shared()``, shape (utterances, experts of a, experts of b).
        firsts: ``paired.firsts()``, the same shape.
        matching: Partners over all rows.
        seconds: From one row to the next.
    """

    experts_a: tuple[str, ...]
    experts_b: tuple[str, ...]

    paired: PairedRouting
    shared: Weights
    firsts: Counts
    matching: Matching
    seconds: float

    @property
    def elsewhere(self) -> Floats:
        """Share of the weight that partners do not have in common, shape (utterances,)."""
        common = self.matching.of_pairs(self.shared) / np.maximum(self.paired.lengths, 1)
        return np.clip(1.0 - common, 0.0, 1.0)


def pair_routings(a: Side, b: Side, examples: Sequence[Example]) -> Routings:
    """Puts the routings of two runs that route side by side.

    Args:
        a: The first run, which has heard the examples.
        b: The second run, which has heard them too.
        examples: At least one.
    """
    assert a.experts is not None
    assert b.experts is not None
    seconds = [side.run.recognizer.frame_seconds for side in (a, b)]
    names = [example.utterance for example in examples]
    paired = pair_rows([a.weights[n] for n in names], [b.weights[n] for n in names], *seconds)
    shared = paired.shared()
    matching = match(shared.sum(axis=0, dtype=np.float64))
    return Routings(a.experts, b.experts, paired, shared, paired.firsts(), matching, min(seconds))


def matching_json(routings: Routings) -> dict[str, Any]:
    """Who is whose partner, and how close partners are: ``matching``."""
    experts_a, experts_b = routings.experts_a, routings.experts_b
    rows = int(routings.paired.lengths.sum())
    load_a, load_b = (
        w.mean(axis=0, dtype=np.float64) for w in (routings.paired.a, routings.paired.b)
    )
    shared = routings.shared.sum(axis=0, dtype=np.float64) / rows
    correlations = routings.paired.correlations()
    return {
        "experts_a": list(experts_a),
        "experts_b": list(experts_b),
        "pairs": [
            {
                "a": experts_a[i],
                "b": experts_b[j],
                "load_a": float(load_a[i]),
                "load_b": float(load_b[j]),
                "shared": float(shared[i, j]),
                "common": min(1.0, float(shared[i, j] / (load_a[i] + load_b[j] - shared[i, j]))),
                "correlation": float(np.clip(correlations[i, j], -1, 1)),
            }
            for i, j in routings.matching.pairs
        ],
        "unmatched_a": [
            {"expert": experts_a[i], "load": float(load_a[i])}
            for i in routings.matching.unmatched_a
        ],
        "unmatched_b": [
            {"expert": experts_b[j], "load": float(load_b[j])}
            for j in routings.matching.unmatched_b
        ],
        "shared": shared.tolist(),
        "first_experts": routings.firsts.sum(axis=0).tolist(),
        "slots": [
            {
                "a": None if i is None else experts_a[i],
                "b": None if j is None else experts_b[j],
            }
            for i, j in routings.matching.slots()
        ],
    }


def agreement_json(routings: Routings, speaker: Counts) -> dict[str, Any]:
    """How far the routings agree: ``agreement``.

    Args:
        routings: Both.
        speaker: Index of each utterance's speaker, shape (utterances,).
    """
    found = agreements(
        routings.paired, routings.matching, routings.shared, routings.firsts, speaker
    )
    return {
        "shuffles": SHUFFLES,
        "measures": [{**dataclasses.asdict(one), "interval": list(one.interval)} for one in found],
    }


def speakers_json(
    routings: Routings, speakers: Sequence[str], speaker: Counts
) -> list[dict[str, Any]]:
    """Whose routing changes: ``routing_by_speaker``.

    Args:
        routings: Both.
        speakers: Their names.
        speaker: Index of each utterance's speaker, shape (utterances,).
    """
    paired, slots = routings.paired, routings.matching.slots()
    before = in_slots(paired.sums(paired.a), [i for i, _ in slots])
    after = in_slots(paired.sums(paired.b), [j for _, j in slots])
    found = []
    for index, name in enumerate(speakers):
        own = speaker == index
        moved = routing_change(before[own], after[own], paired.lengths[own])
        found.append(
            {
                "speaker": name,
                "utterances": int(own.sum()),
                "rows": int(paired.lengths[own].sum()),
                "before": moved.before.tolist(),
                "after": moved.after.tolist(),
                "distance": moved.distance,
                "interval": list(moved.interval),
                "p": moved.p,
            }
        )
    return controlled(found)


def first_experts(routings: Routings, utterance: int) -> list[list[list[int]]]:
    """The slots of both runs' heaviest experts in time, as ``[slot, rows]``."""
    paired, slots = routings.paired, routings.matching.slots()
    first = int(paired.starts[utterance])
    rows = slice(first, first + int(paired.lengths[utterance]))
    found = []
    for side, weights in enumerate((paired.a, paired.b)):
        slot_of = {slot[side]: number for number, slot in enumerate(slots)}
        to_slot = np.array([slot_of[expert] for expert in range(weights.shape[1])])
        found.append([list(turn) for turn in turns(to_slot[weights[rows].argmax(axis=1)])])
    return found
