"""The routing report of a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phoneme_moe.corpora import load_corpus
from phoneme_moe.report.collect import collect_routing
from phoneme_moe.report.statistics import RoutingReport, Unit, summarize
from phoneme_moe.run import Run
from phoneme_moe.training.data import load_examples


@dataclass(frozen=True)
class RunReport:
    """A written report.

    Attributes:
        report: The figures.
        files: What was written.
    """

    report: RoutingReport
    files: tuple[Path, ...]


def report_run(
    run: Run,
    split: str = "test",
    out: Path | None = None,
    corpus_name: str | None = None,
    layer: str | None = None,
) -> RunReport:
    """Collects the routing of a split and writes the report.

    Args:
        run: The run.
        split: ``train``, ``dev`` or ``test``.
        out: Where to write; ``report`` in the run folder when left out.
        corpus_name: Another prepared corpus than the run's own.
        layer: A sparse layer of an encoder; its last one when left out.

    Raises:
        InputError: The corpus is not prepared, or has nothing that the run can use; or the run has
            no such layer.
    """
    from phoneme_moe.report.files import write_report

    corpus = load_corpus(corpus_name or run.recipe.corpus.name)
    recognizer = run.recognizer
    # A gate that is the speaker's identity has nobody for speakers without an expert.
    speakers = recognizer.expert_names if recognizer.asks_speaker else None
    examples = load_examples(run.recipe, corpus, split, recognizer, speakers)
    unit: Unit = "token" if run.recipe.task.kind == "classify" else "frame"
    layer, _ = recognizer.routed_layer(layer)
    report = summarize(collect_routing(recognizer, examples, layer), unit=unit)
    facts = {
        "recipe": run.recipe.name,
        "corpus": corpus.name,
        "split": split,
        "task": run.recipe.task.kind,
        **({} if layer is None else {"layer": layer}),
    }
    files = write_report(
        report,
        out or run.folder / "report",
        title=f"Who routes where: {run.recipe.name}",
        facts=facts,
    )
    return RunReport(report, tuple(files))
