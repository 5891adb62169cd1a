"""Routing of two runs on the same utterances, with matched experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from phoneme_moe.data.examples import Example
from phoneme_moe.report.compare.differences import controlled, routing_change, turns
from phoneme_moe.report.compare.document import (
    ExpertMatching,
    ExpertPair,
    Slot,
    SpeakerRouting,
    Turn,
    UnmatchedExpert,
)
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

if TYPE_CHECKING:
    from phoneme_moe.report.compare.run import RunOutputs


@dataclass(frozen=True, eq=False)
class MatchedRouting:
    """The routing of both runs with matched experts.

    Attributes:
        paired: Weights of both runs in the same rows.
        shared: ``paired.shared()``, shape (utterances, experts of a, experts of b).
        firsts: ``paired.firsts()``, the same shape.
        matching: Matching of experts over all rows.
        seconds: Seconds from one row to the next.
    """

    paired: PairedRouting
    shared: Weights
    firsts: Counts
    matching: Matching
    seconds: float

    @classmethod
    def of(cls, a: RunOutputs, b: RunOutputs, examples: Sequence[Example]) -> MatchedRouting:
        """Pairs the rows of both runs and matches their experts.

        Args:
            a: The first run with its outputs for the examples, with experts.
            b: The second run with its outputs, with experts.
            examples: The examples.
        """
        seconds = [run.run.recognizer.frame_seconds for run in (a, b)]
        names = [example.utterance for example in examples]
        paired = pair_rows([a.weights[n] for n in names], [b.weights[n] for n in names], *seconds)
        shared = paired.shared()
        matching = match(shared.sum(axis=0, dtype=np.float64))
        return cls(paired, shared, paired.firsts(), matching, min(seconds))

    @property
    def distances(self) -> Floats:
        """Share of the weight that matched experts do not share, shape (utterances,)."""
        common = self.matching.of_pairs(self.shared) / np.maximum(self.paired.lengths, 1)
        return np.clip(1.0 - common, 0.0, 1.0)

    def first_experts(self, utterance: int) -> Iterator[list[Turn]]:
        """The experts with the greatest weight as runs of slots, in the first and second run."""
        paired, slots = self.paired, self.matching.slots()
        first = int(paired.starts[utterance])
        rows = slice(first, first + int(paired.lengths[utterance]))
        for side, weights in enumerate((paired.a, paired.b)):
            slot_of = {slot[side]: number for number, slot in enumerate(slots)}
            to_slot = np.array([slot_of[expert] for expert in range(weights.shape[1])])
            yield turns(to_slot[weights[rows].argmax(axis=1)])


def matched_experts(
    experts_a: Sequence[str], experts_b: Sequence[str], routing: MatchedRouting
) -> ExpertMatching:
    """The pairs of experts, and the experts without a partner.

    Args:
        experts_a: Names of the experts of the first run.
        experts_b: Names of the experts of the second run.
        routing: Routing of both runs.
    """
    paired, matching = routing.paired, routing.matching
    load_a, load_b = (w.mean(axis=0, dtype=np.float64) for w in (paired.a, paired.b))
    shared = routing.shared.sum(axis=0, dtype=np.float64) / int(paired.lengths.sum())
    correlations = paired.correlations()
    return ExpertMatching(
        experts_a=list(experts_a),
        experts_b=list(experts_b),
        pairs=[
            ExpertPair(
                a=experts_a[i],
                b=experts_b[j],
                load_a=float(load_a[i]),
                load_b=float(load_b[j]),
                shared=float(shared[i, j]),
                common=min(1.0, float(shared[i, j] / (load_a[i] + load_b[j] - shared[i, j]))),
                correlation=float(np.clip(correlations[i, j], -1, 1)),
            )
            for i, j in matching.pairs
        ],
        unmatched_a=[
            UnmatchedExpert(expert=experts_a[i], load=float(load_a[i]))
            for i in matching.unmatched_a
        ],
        unmatched_b=[
            UnmatchedExpert(expert=experts_b[j], load=float(load_b[j]))
            for j in matching.unmatched_b
        ],
        shared=shared.tolist(),
        first_experts=routing.firsts.sum(axis=0).tolist(),
        slots=[
            Slot(a=None if i is None else experts_a[i], b=None if j is None else experts_b[j])
            for i, j in matching.slots()
        ],
    )


def speaker_routing(
    routing: MatchedRouting, speakers: Sequence[str], speaker: Counts
) -> list[SpeakerRouting]:
    """Mean weights of each speaker in both runs, and how much they differ.

    Args:
        routing: Routing of both runs.
        speakers: Names of the speakers.
        speaker: Index of the speaker of each utterance, shape (utterances,).
    """
    paired, slots = routing.paired, routing.matching.slots()
    before = in_slots(paired.sums(paired.a), [i for i, _ in slots])
    after = in_slots(paired.sums(paired.b), [j for _, j in slots])
    masks = [speaker == index for index in range(len(speakers))]
    moves = [routing_change(before[mask], after[mask], paired.lengths[mask]) for mask in masks]
    tests = controlled([move.p for move in moves])
    return [
        SpeakerRouting(
            speaker=name,
            utterances=int(mask.sum()),
            rows=int(paired.lengths[mask].sum()),
            before=move.before.tolist(),
            after=move.after.tolist(),
            distance=move.distance,
            interval=move.interval,
            p=move.p,
            **test,
        )
        for name, mask, move, test in zip(speakers, masks, moves, tests, strict=True)
    ]
