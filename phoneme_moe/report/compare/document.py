"""Everything a comparison says, as plain data: ``comparison.json``.

docs/schemas/comparison.schema.json describes every key; page and terminal read nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import (
    UtteranceScore,
    paired_difference,
    score_utterance,
    total_score,
)
from phoneme_moe.report.compare.differences import (
    controlled,
    distance_of,
    most_different,
    side_by_side,
)
from phoneme_moe.report.compare.matching import Counts
from phoneme_moe.report.compare.paired_runs import Side, same_phonemes
from phoneme_moe.report.compare.routing import (
    Routings,
    agreement_json,
    first_experts,
    matching_json,
    pair_routings,
    speakers_json,
)
from phoneme_moe.report.compare.text import verdict

SCHEMA_VERSION = 1
"""Version of ``comparison.json`` (docs/schemas/comparison.schema.json)."""


def compare_sides(
    a: Side, b: Side, examples: Sequence[Example], corpus: str, split: str
) -> dict[str, Any]:
    """Puts together what two runs said of the same utterances.

    Args:
        a: The first run, which has heard the examples.
        b: The second run, which has heard them too.
        examples: At least one.
        corpus: Their corpus.
        split: Their split.
    """
    speakers = sorted({example.speaker for example in examples})
    speaker = np.array([speakers.index(example.speaker) for example in examples])
    label_a, label_b = _labels(a, b)
    routings = pair_routings(a, b, examples) if a.routes and b.routes else None
    scored = same_phonemes(a.run, b.run)
    document: dict[str, Any] = {
        "version": SCHEMA_VERSION,
        "title": f"{label_a} against {label_b}",
        "a": _about(a, label_a),
        "b": _about(b, label_b),
        "corpus": corpus,
        "split": split,
        "task": a.run.recipe.task.kind,
        "unit": "token" if a.run.recipe.task.kind == "classify" else "frame",
        "frame_seconds": None if routings is None else routings.seconds,
        "num_utterances": len(examples),
        "num_rows": None if routings is None else int(routings.paired.lengths.sum()),
        "missing": _missing(a, b, scored),
        "error_rate": _error_rates(a, b, examples, speakers, speaker) if scored else None,
        "matching": None if routings is None else matching_json(routings),
        "agreement": None if routings is None else agreement_json(routings, speaker),
        "routing_by_speaker": (
            None if routings is None else speakers_json(routings, speakers, speaker)
        ),
        "utterances": _utterances(a, b, examples, routings, scored),
    }
    return {**document, "verdict": verdict(document)}


def _labels(a: Side, b: Side) -> tuple[str, str]:
    """What to call the runs: their folders' names, longer where these are the same."""
    folders = [side.run.folder.resolve() for side in (a, b)]
    names = [folder.name for folder in folders]
    if names[0] == names[1] and folders[0] != folders[1]:
        names = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    if names[0] == names[1] and a.layer != b.layer:
        names = [f"{name} {side.layer}" for name, side in zip(names, (a, b), strict=True)]
    return names[0], names[1]


def _about(side: Side, label: str) -> dict[str, Any]:
    return {
        "name": label,
        "folder": str(side.run.folder),
        "recipe": side.run.recipe.name,
        "layer": side.layer,
        "experts": None if side.experts is None else list(side.experts),
    }


def _missing(a: Side, b: Side, scored: bool) -> list[str]:
    """What is left out, and why."""
    told = [
        f"No routing is compared: run {letter} has no gate and no sparse layer."
        for letter, side in (("A", a), ("B", b))
        if not side.routes
    ]
    if not scored:
        told.append(
            "No error rates are compared: the runs tell different phonemes apart "
            f"(A {len(a.run.recognizer.phonemes.symbols)}, "
            f"B {len(b.run.recognizer.phonemes.symbols)})."
        )
    return told


def _error_rates(
    a: Side, b: Side, examples: Sequence[Example], speakers: Sequence[str], speaker: Counts
) -> dict[str, Any]:
    scores_a, scores_b = (
        [score_utterance(e.phonemes, side.hypotheses[e.utterance]) for e in examples]
        for side in (a, b)
    )
    by_speaker = []
    for index, name in enumerate(speakers):
        own = np.flatnonzero(speaker == index)
        rates = _paired_rates([scores_a[i] for i in own], [scores_b[i] for i in own])
        by_speaker.append({"speaker": name, **rates})
    return {
        "measure": "per" if a.run.recipe.task.kind == "recognize" else "token_error_rate",
        "fold": f"none ({len(a.run.recognizer.phonemes.symbols)} phonemes)",
        **_paired_rates(scores_a, scores_b),
        "identical": sum(a.hypotheses[e.utterance] == b.hypotheses[e.utterance] for e in examples),
        "by_speaker": controlled(by_speaker),
    }


def _paired_rates(a: list[UtteranceScore], b: list[UtteranceScore]) -> dict[str, Any]:
    score_a, score_b, found = total_score(a), total_score(b), paired_difference(a, b)
    more = np.array([after.errors - before.errors for before, after in zip(a, b, strict=True)])
    return {
        "utterances": len(a),
        "phonemes": score_a.num_reference,
        "a": score_a.error_rate,
        "interval_a": list(score_a.interval),
        "b": score_b.error_rate,
        "interval_b": list(score_b.interval),
        "difference": found.difference,
        "interval": list(found.interval),
        "p": found.p,
        "better": int((more < 0).sum()),
        "worse": int((more > 0).sum()),
        "same": int((more == 0).sum()),
    }


def _utterances(
    a: Side, b: Side, examples: Sequence[Example], routings: Routings | None, scored: bool
) -> list[dict[str, Any]]:
    said = [(a.hypotheses[e.utterance], b.hypotheses[e.utterance]) for e in examples]
    words = np.array([distance_of(*both) if scored else 0.0 for both in said])
    elsewhere = None if routings is None else routings.elsewhere
    found = []
    for i, why in most_different(words, elsewhere):
        example, (said_a, said_b) = examples[i], said[i]
        one: dict[str, Any] = {
            "utterance": example.utterance,
            "speaker": example.speaker,
            "why": why,
            "transcription_distance": float(words[i]) if scored else None,
            "routing_distance": None if elsewhere is None else float(elsewhere[i]),
            "errors_a": score_utterance(example.phonemes, said_a).errors if scored else None,
            "errors_b": score_utterance(example.phonemes, said_b).errors if scored else None,
            "columns": None,
            "first_a": None,
            "first_b": None,
        }
        if scored:
            aligned = side_by_side(example.phonemes, said_a, said_b)
            one["columns"] = [list(dataclasses.astuple(column)) for column in aligned]
        if routings is not None:
            one["first_a"], one["first_b"] = first_experts(routings, i)
        found.append(one)
    return found
