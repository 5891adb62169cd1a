"""Builds the content of ``comparison.json`` from the outputs of two runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import score_utterance
from phoneme_moe.files.writing import path_text
from phoneme_moe.report.compare.agreement import agreements
from phoneme_moe.report.compare.differences import (
    Differences,
    hypothesis_distance,
    most_different,
    side_by_side,
)
from phoneme_moe.report.compare.document import ComparedRun, ComparedUtterance, ComparisonDocument
from phoneme_moe.report.compare.error_rates import error_rates
from phoneme_moe.report.compare.matched_routing import (
    MatchedRouting,
    matched_experts,
    speaker_routing,
)
from phoneme_moe.report.compare.matching import Counts
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
        routing = MatchedRouting.of(a, b, examples)
    scored = a.phonemes == b.phonemes
    parts: dict[str, Any] = {}
    if routing is not None:
        paired, matching = routing.paired, routing.matching
        parts = {
            "frame_seconds": routing.seconds,
            "num_rows": int(paired.lengths.sum()),
            "matching": matched_experts(a.experts or (), b.experts or (), routing),
            "agreement": agreements(paired, matching, routing.shared, routing.firsts, speaker),
            "routing_by_speaker": speaker_routing(routing, speakers, speaker),
        }
    empty = dict.fromkeys(
        ("frame_seconds", "num_rows", "matching", "agreement", "routing_by_speaker")
    )
    corpora = corpus.split("+") if "+" in corpus else []
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
        error_rate=error_rates(a, b, examples, speakers, speaker, corpora) if scored else None,
        utterances=list(_utterances(a, b, examples, routing, scored, speaker)),
        **{**empty, **parts},
    )
    return document.model_copy(update={"verdict": verdict(document)})


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


def _utterances(
    a: RunOutputs,
    b: RunOutputs,
    examples: Sequence[Example],
    routing: MatchedRouting | None,
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
