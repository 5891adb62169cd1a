"""Builds the content of ``comparison.json`` from the outputs of two runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import (
    UtteranceScore,
    paired_difference,
    score_utterance,
    total_score,
)
from phoneme_moe.files.writing import path_text
from phoneme_moe.report.compare.agreement import agreements
from phoneme_moe.report.compare.differences import (
    Differences,
    controlled,
    hypothesis_distance,
    most_different,
    routing_change,
    side_by_side,
    turns,
)
from phoneme_moe.report.compare.document import (
    ComparedRun,
    ComparedUtterance,
    ComparisonDocument,
    ExpertMatching,
    ExpertPair,
    Slot,
    SpeakerErrorRates,
    SpeakerRouting,
    SplitErrorRates,
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
from phoneme_moe.report.compare.text import verdict

if TYPE_CHECKING:
    from phoneme_moe.report.compare.run import RunOutputs


def compare_outputs(
    a: RunOutputs, b: RunOutputs, examples: Sequence[Example], corpus: str, split: str
) -> ComparisonDocument:
    """Compares the outputs of two runs on the same utterances.

    Args:
        a: The first run with its outputs for the examples.
        b: The second run with its outputs.
        examples: Examples, at least one.
        corpus: Corpus of the examples.
        split: Split of the examples.
    """
    speakers = sorted({example.speaker for example in examples})
    speaker = np.array([speakers.index(example.speaker) for example in examples])
    label_a, label_b = _labels(a, b)
    routing = None
    if a.experts is not None and b.experts is not None:
        routing = _MatchedRouting.of(a, b, examples)
    scored = a.phonemes == b.phonemes
    parts: dict[str, Any] = {}
    if routing is not None:
        paired, matching = routing.paired, routing.matching
        parts = {
            "frame_seconds": routing.seconds,
            "num_rows": int(paired.lengths.sum()),
            "matching": _matching(a.experts or (), b.experts or (), routing),
            "agreement": agreements(paired, matching, routing.shared, routing.firsts, speaker),
            "routing_by_speaker": _speaker_routing(routing, speakers, speaker),
        }
    empty = dict.fromkeys(
        ("frame_seconds", "num_rows", "matching", "agreement", "routing_by_speaker")
    )
    document = ComparisonDocument(
        version=1,
        verdict=[],
        title=f"{label_a} and {label_b}",
        a=_about(a, label_a),
        b=_about(b, label_b),
        corpus=corpus,
        split=split,
        task=a.kind,
        unit="token" if a.kind == "classify" else "frame",
        num_utterances=len(examples),
        missing=list(_missing(a, b, scored)),
        error_rate=_error_rates(a, b, examples, speakers, speaker) if scored else None,
        utterances=list(_utterances(a, b, examples, routing, scored, speaker)),
        **{**empty, **parts},
    )
    return document.model_copy(update={"verdict": verdict(document)})


@dataclass(frozen=True, eq=False)
class _MatchedRouting:
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
    def of(cls, a: RunOutputs, b: RunOutputs, examples: Sequence[Example]) -> _MatchedRouting:
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


def _labels(a: RunOutputs, b: RunOutputs) -> tuple[str, str]:
    """Names of the runs: their folders', with parents if these are the same."""
    folders = [run.run.folder.resolve() for run in (a, b)]
    names = [folder.name for folder in folders]
    if names[0] == names[1] and folders[0] != folders[1]:
        names = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    if names[0] == names[1] and a.layer != b.layer:
        names = [f"{name} {run.layer}" for name, run in zip(names, (a, b), strict=True)]
    return names[0], names[1]


def _about(run: RunOutputs, label: str) -> ComparedRun:
    return ComparedRun(
        name=label,
        folder=path_text(run.run.name),
        recipe=run.run.recipe.name,
        layer=run.layer,
        experts=None if run.experts is None else list(run.experts),
    )


def _missing(a: RunOutputs, b: RunOutputs, scored: bool) -> Iterator[str]:
    """Sentences on what is missing, and why."""
    for letter, run in (("A", a), ("B", b)):
        if run.experts is None:
            yield f"Routing is not compared: run {letter} has no gate and no sparse layer."
    if not scored:
        yield (
            "Error rates are not compared: the phoneme sets of the runs differ "
            f"(A {len(a.phonemes)}, B {len(b.phonemes)} phonemes)."
        )


def _error_rates(
    a: RunOutputs,
    b: RunOutputs,
    examples: Sequence[Example],
    speakers: Sequence[str],
    speaker: Counts,
) -> SplitErrorRates:
    scores = [
        [score_utterance(e.phonemes, run.hypotheses[e.utterance]) for e in examples]
        for run in (a, b)
    ]
    rates = [
        _paired_rates(
            *(
                [scores_of_run[i] for i in np.flatnonzero(speaker == index)]
                for scores_of_run in scores
            )
        )
        for index in range(len(speakers))
    ]
    tests = controlled([one["p"] for one in rates])
    return SplitErrorRates(
        measure="per" if a.kind == "recognize" else "token_error_rate",
        fold=f"none ({len(a.phonemes)} phonemes)",
        **_paired_rates(*scores),
        identical=sum(a.hypotheses[e.utterance] == b.hypotheses[e.utterance] for e in examples),
        by_speaker=[
            SpeakerErrorRates(speaker=name, **one, **test)
            for name, one, test in zip(speakers, rates, tests, strict=True)
        ],
    )


def _paired_rates(a: list[UtteranceScore], b: list[UtteranceScore]) -> dict[str, Any]:
    """Fields of ``ErrorRates``."""
    score_a, score_b, difference = total_score(a), total_score(b), paired_difference(a, b)
    more = np.array([after.errors - before.errors for before, after in zip(a, b, strict=True)])
    return {
        "utterances": len(a),
        "phonemes": score_a.num_reference,
        "a": score_a.error_rate,
        "interval_a": score_a.interval,
        "b": score_b.error_rate,
        "interval_b": score_b.interval,
        "difference": difference.difference,
        "interval": difference.interval,
        "p": difference.p,
        "better": int((more < 0).sum()),
        "worse": int((more > 0).sum()),
        "same": int((more == 0).sum()),
    }


def _matching(
    experts_a: Sequence[str], experts_b: Sequence[str], routing: _MatchedRouting
) -> ExpertMatching:
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


def _speaker_routing(
    routing: _MatchedRouting, speakers: Sequence[str], speaker: Counts
) -> list[SpeakerRouting]:
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


def _utterances(
    a: RunOutputs,
    b: RunOutputs,
    examples: Sequence[Example],
    routing: _MatchedRouting | None,
    scored: bool,
    speaker: Counts,
) -> Iterator[ComparedUtterance]:
    """The utterances that differ most."""
    pairs = [(a.hypotheses[e.utterance], b.hypotheses[e.utterance]) for e in examples]
    words = np.array([hypothesis_distance(*pair) if scored else 0.0 for pair in pairs])
    errors = [
        tuple(score_utterance(e.phonemes, one).errors if scored else None for one in pair)
        for e, pair in zip(examples, pairs, strict=True)
    ]
    change = np.array([(after or 0) - (before or 0) for before, after in errors])
    lengths = np.bincount(speaker, [len(e.phonemes) for e in examples])
    differences = Differences(
        transcription=words,
        routing=None if routing is None else routing.distances,
        errors=change,
        speaker=speaker,
        speaker_change=np.bincount(speaker, change) / np.maximum(lengths, 1),
    )
    for i, why in most_different(differences):
        example, pair = examples[i], pairs[i]
        first_a, first_b = (None, None) if routing is None else routing.first_experts(i)
        distances = differences.routing
        yield ComparedUtterance(
            utterance=example.utterance,
            speaker=example.speaker,
            why=why,
            transcription_distance=float(words[i]) if scored else None,
            routing_distance=None if distances is None else float(distances[i]),
            errors_a=errors[i][0],
            errors_b=errors[i][1],
            columns=side_by_side(example.phonemes, *pair) if scored else None,
            first_a=first_a,
            first_b=first_b,
        )
