"""Printing of tables and result lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from phoneme_moe.system.console import PlainConsole
from phoneme_moe.system.terminal import printable

if TYPE_CHECKING:
    from phoneme_moe.evaluation.errors import Evaluation
    from phoneme_moe.report.document import RoutingDocument
    from phoneme_moe.report.statistics import RoutingReport


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Prints the error rate (or accuracy) of every speaker and overall."""
    data = evaluation.to_json()
    measure = evaluation.measure
    heading = "accuracy %" if measure == "accuracy" else "PER %"
    table = Table(
        title=f"{evaluation.recipe} on {evaluation.corpus} {evaluation.split}",
        title_justify="left",
        caption=f"95 % interval: bootstrap over utterances. Fold: {data['fold']}.",
        caption_justify="left",
    )
    columns = ["speaker", heading, "95 % interval", "errors", "phonemes"]
    counts = [("sub", "substitutions"), ("ins", "insertions"), ("del", "deletions")]
    if measure == "per":
        columns += [short for short, _ in counts]
    for column in columns:
        # Names are folded in the worst case, never cut: several corpora make them long.
        table.add_column(
            column, justify="left" if column == "speaker" else "right", overflow="fold"
        )
    rows = [
        (printable(name) + (" *" if scores["unseen"] else ""), scores)
        for name, scores in data["by_speaker"].items()
    ]
    parts = [
        (f"corpus {printable(name)}", scores) for name, scores in data.get("by_corpus", {}).items()
    ]
    for number, (name, scores) in enumerate([*rows, *parts, ("all", data)]):
        low, high = scores["interval"]
        cells = [
            name,
            f"{100 * scores[measure]:.2f}",
            f"{100 * low:.2f} - {100 * high:.2f}",
            str(scores["errors"]),
            str(scores["phonemes"]),
        ]
        if measure == "per":
            cells += [str(scores[long]) for _, long in counts]
        if number in {len(rows), len(rows) + len(parts)}:
            table.add_section()
        table.add_row(*cells)
    unlimited = console.options.update(max_width=1000)
    if Measurement.get(console, unlimited, table).maximum > console.width:
        table.padding = 0
    console.print(table)
    if evaluation.unseen:
        console.print("* not among the speakers that the run was trained on")
    if evaluation.any_pronunciation:
        rates = ", ".join(
            f"{printable(name)} {100 * score.error_rate:.2f}"
            for name, score in evaluation.any_pronunciation.items()
        )
        console.print(f"PER % if any pronunciation of the lexicon is right: {rates}")
    if evaluation.total.confusions:
        shown = ", ".join(f"{r}>{h} {n}" for r, h, n in evaluation.total.confusions[:8])
        console.print(f"most confused: {shown}")


def print_change(console: Console, evaluation: Evaluation, plain: Evaluation) -> None:
    """Prints the change of the error rate from the run without options."""
    change = evaluation.against(plain)
    low, high = (100 * value for value in change.interval)
    before, after = (100 * e.total.error_rate for e in (plain, evaluation))
    name = "PER" if evaluation.measure == "per" else "error"
    console.print(
        f"{name} without these options: {before:.2f} %; with them: {after:.2f} %, change "
        f"{100 * change.difference:+.2f} points ({low:+.2f} to {high:+.2f}, p = {change.p:.2g})"
    )


def print_routing(console: Console, report: RoutingReport) -> None:
    """Prints the mean expert weights of every speaker."""
    from phoneme_moe.report.terminal import routing_table_text

    console.print()
    console.print(routing_table_text(report, console.width))


def print_verdict(console: Console, document: RoutingDocument) -> None:
    """Prints the findings of a report in sentences, and which parts are missing."""
    for sentence in document.verdict:
        console.print(sentence, highlight=False, markup=False)
    for sentence in document.missing:
        console.print(sentence, style="dim", highlight=False, markup=False)


def print_files(console: Console, files: Mapping[str, Path]) -> None:
    """Prints the paths of written files, one per line, without wrapping."""
    console.print()
    width = max(12, *(len(name) + 2 for name in files))
    for name, path in files.items():
        console.print(f"{name + ':':<{width}}{path}", soft_wrap=True, highlight=False, markup=False)


def progress_console() -> Console:
    """The console of progress bars: stderr if it is a terminal, else None."""
    return PlainConsole(stderr=True, quiet=not sys.stderr.isatty())
