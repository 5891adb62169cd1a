"""Two runs over the same utterances: which expert is which, what changed, and is it real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from phoneme_moe.corpora import load_corpus
from phoneme_moe.files import write_json, write_text
from phoneme_moe.report.compare.paired_runs import (
    check_comparable,
    common_corpus,
    open_side,
    same_examples,
)
from phoneme_moe.run_folder import LoadedRun

#: What ``compare_runs`` tells of its progress, so many times.
STEPS = 5


@dataclass(frozen=True)
class Comparison:
    """A written comparison.

    Attributes:
        document: What ``comparison.json`` holds (docs/schemas/comparison.schema.json).
        files: What was written.
    """

    document: dict[str, Any]
    files: tuple[Path, ...]

    @property
    def text(self) -> RenderableType:
        """The comparison for a terminal."""
        from phoneme_moe.report.compare.terminal import comparison_text

        return comparison_text(self.document)


def compare_runs(
    run_a: LoadedRun,
    run_b: LoadedRun,
    split: str = "test",
    corpus_name: str | None = None,
    layer: str | None = None,
    layer_b: str | None = None,
    out: Path | None = None,
    step: Callable[[], None] = lambda: None,
) -> Comparison:
    """Compares two runs over the same utterances and writes ``comparison.json`` and ``.html``.

    Args:
        run_a: The run before.
        run_b: The run after; may be the same, to compare two of its layers.
        split: ``train``, ``dev`` or ``test``.
        corpus_name: A prepared corpus; the runs' own where it is the same for both.
        layer: A sparse layer of both runs; the last one when left out.
        layer_b: Another one of the second run.
        out: Where to write; ``compare/NAME_OF_A`` in the second run's folder when left out.
        step: Called ``STEPS`` times on the way.

    Raises:
        InputError: The runs have no corpus, task or utterance in common, nothing of them can be
            compared, or one of them has no such layer.
    """
    # Here and not above: scipy and jinja2 are slow to import and wrong input needs neither.
    from phoneme_moe.report.compare.document import compare_sides
    from phoneme_moe.report.compare.page import render_comparison

    corpus = load_corpus(corpus_name or common_corpus(run_a, run_b))
    side_a = open_side(run_a, layer)
    sparse_b = bool(run_b.recognizer.encoder and run_b.recognizer.encoder.sparse_layers)
    side_b = open_side(run_b, layer_b if layer_b or not sparse_b else layer)
    check_comparable(side_a, side_b)
    examples_a, examples_b = same_examples(run_a, run_b, corpus, split, step)
    side_a.hear(examples_a)
    step()
    side_b.hear(examples_b)
    step()
    document = compare_sides(side_a, side_b, examples_a, corpus.name, split)
    folder = out or run_b.folder / "compare" / (run_a.folder.resolve().name or "run")
    page = render_comparison(document)
    write_json(folder / "comparison.json", document)
    write_text(folder / "comparison.html", page)
    step()
    return Comparison(document, (folder / "comparison.html", folder / "comparison.json"))
