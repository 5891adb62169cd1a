"""Comparison of two runs on the same utterances, written to files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.files.writing import write_json, write_text
from phoneme_moe.inference import recognize_split
from phoneme_moe.report.compare.document import ComparisonDocument
from phoneme_moe.run_folder import LoadedRun

#: Number of times that ``compare_runs`` reports progress.
STEPS = 5


@dataclass(frozen=True)
class Comparison:
    """A written comparison.

    Attributes:
        document: The content of ``comparison.json``.
        files: Paths of the written files.
    """

    document: ComparisonDocument
    files: tuple[Path, ...]

    @property
    def text(self) -> RenderableType:
        """The comparison for a terminal."""
        from phoneme_moe.report.compare.text import comparison_text

        return comparison_text(self.document)


@dataclass(frozen=True, eq=False)
class RunOutputs:
    """A run with its hypotheses and routing for the utterances.

    Attributes:
        run: The run.
        layer: The sparse layer whose routing is compared; None for the gate.
        experts: Names of its experts; None if the run has no routing.
        hypotheses: Decoded phonemes of each utterance, by identifier.
        weights: Routing of each utterance, shape (rows, experts); rows sum to 1.
    """

    run: LoadedRun
    layer: str | None
    experts: tuple[str, ...] | None
    hypotheses: dict[str, list[str]] = field(default_factory=dict)
    weights: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def phonemes(self) -> frozenset[str]:
        """The run's phoneme set."""
        return frozenset(self.run.recognizer.phonemes.symbols)

    @property
    def kind(self) -> str:
        """``classify`` or ``recognize``."""
        return self.run.recipe.task.kind

    def recognize(self, examples: list[Example]) -> None:
        """Recognises the examples and stores hypotheses and routing."""
        for one in recognize_split(
            self.run.recognizer,
            examples,
            decoding=self.run.decoding,
            layers=() if self.experts is None else (self.layer,),
        ):
            self.hypotheses[one.example.utterance] = one.hypothesis
            for weights in one.weights.values():
                # A copy, since a view would keep the whole batch in memory.
                normalized = weights / weights.sum(axis=1, keepdims=True)
                self.weights[one.example.utterance] = normalized


def compare_runs(
    run_a: LoadedRun,
    run_b: LoadedRun,
    split: str = "test",
    corpus: str | None = None,
    layer: str | None = None,
    layer_b: str | None = None,
    out: str | Path | None = None,
    step: Callable[[], None] = lambda: None,
) -> Comparison:
    """Compares two runs on the same utterances and writes ``comparison.json`` and ``.html``.

    Args:
        run_a: The first run.
        run_b: The second run; may be the same, to compare two of its layers.
        split: ``train``, ``dev`` or ``test``.
        corpus: A prepared corpus; by default that of both runs, if it is the same.
        layer: A sparse layer of both runs; by default the last one.
        layer_b: Layer of the second run, if different.
        out: Output folder; by default ``compare/NAME_OF_A`` in the second run's folder.
        step: Called ``STEPS`` times to report progress.

    Raises:
        InputError: The runs share no corpus, task or utterance, or nothing that can be compared, or
            one of them has no such layer.
    """
    # Imported after the checks, since scipy and jinja2 are slow to import.
    from phoneme_moe.report.compare.build import compare_outputs
    from phoneme_moe.report.compare.page import render_comparison

    prepared = load_corpus(corpus or _common_corpus(run_a, run_b))
    sparse_b = bool(run_b.recognizer.encoder and run_b.recognizer.encoder.sparse_layers)
    a = _select_layer(run_a, layer)
    b = _select_layer(run_b, layer_b if layer_b or not sparse_b else layer)
    _check_comparable(a, b)
    examples_a, examples_b = _same_examples(run_a, run_b, prepared, split, step)
    a.recognize(examples_a)
    step()
    b.recognize(examples_b)
    step()
    document = compare_outputs(a, b, examples_a, prepared.name, split)
    folder = Path(out or run_b.output_folder / "compare" / (run_a.folder.resolve().name or "run"))
    page = render_comparison(document)
    write_json(folder / "comparison.json", document.model_dump(mode="json"))
    write_text(folder / "comparison.html", page)
    step()
    return Comparison(document, (folder / "comparison.html", folder / "comparison.json"))


def _select_layer(run: LoadedRun, layer: str | None) -> RunOutputs:
    """A run and the layer whose routing is compared, by default the last one."""
    recognizer = run.recognizer
    try:
        selected, experts = recognizer.routed_layer(layer)
    except InputError as error:
        raise InputError(f"{run.name}: {error}") from error
    routes = selected is not None or recognizer.gate is not None or recognizer.gate_is_speaker
    return RunOutputs(run, selected, experts if routes and len(experts) > 1 else None)


def _common_corpus(a: LoadedRun, b: LoadedRun) -> str:
    """The corpus that both runs were trained on."""
    names = [run.recipe.corpus.name for run in (a, b)]
    if names[0] != names[1]:
        raise ArgumentError(
            "corpus",
            f"{a.folder} was trained on {names[0]} and {b.folder} on {names[1]}; "
            "expected the name of a prepared corpus on which to compare both",
        )
    return names[0]


def _check_comparable(a: RunOutputs, b: RunOutputs) -> None:
    """Checks that tasks are the same, and phoneme sets too unless routing can be compared."""
    if a.kind != b.kind:
        does = {"classify": "classifies tokens", "recognize": "recognises utterances"}
        raise InputError(
            f"{a.run.name} {does[a.kind]} and {b.run.name} {does[b.kind]}: "
            "expected two runs of the same task"
        )
    if a.phonemes == b.phonemes or (a.experts is not None and b.experts is not None):
        return
    raise InputError(
        f"phoneme sets differ ({len(a.phonemes - b.phonemes)} only in {a.run.name}, "
        f"{len(b.phonemes - a.phonemes)} only in {b.run.name}), so error rates cannot be "
        "compared, and at least one run has no routing: there is nothing to compare"
    )


def _same_examples(
    run_a: LoadedRun, run_b: LoadedRun, corpus: PreparedCorpus, split: str, step: Callable[[], None]
) -> tuple[list[Example], list[Example]]:
    """Examples of both runs in the same order, each with its run's features."""
    of_a, of_b = (split_speakers(run.recipe, corpus, run.recognizer) for run in (run_a, run_b))
    speakers = sorted({*of_a} & {*of_b})
    if not speakers:
        raise InputError(
            f"corpus {corpus.name}: no speaker is usable by both {run_a.folder} and {run_b.folder}"
        )
    examples_a = load_examples(run_a.recipe, corpus, split, run_a.recognizer, speakers)
    step()
    examples_b = (
        examples_a
        if _same_input(run_a, run_b)
        else load_examples(run_b.recipe, corpus, split, run_b.recognizer, speakers)
    )
    step()
    by_name = {example.utterance: example for example in examples_b}
    common = [example for example in examples_a if example.utterance in by_name]
    if not common:
        raise InputError(
            f"corpus {corpus.name}: the {split} split has no utterance that both {run_a.folder} "
            f"and {run_b.folder} can use"
        )
    return common, [by_name[example.utterance] for example in common]


def _same_input(a: LoadedRun, b: LoadedRun) -> bool:
    """Whether both runs have the same examples, which then need to be loaded only once."""
    return (
        a.recipe.features == b.recipe.features
        and a.recipe.task == b.recipe.task
        and a.recipe.corpus == b.recipe.corpus
        and a.recognizer.embedding_size == b.recognizer.embedding_size
        and a.recognizer.phonemes.symbols == b.recognizer.phonemes.symbols
    )
