"""An outcome as files: JSON for programs, CSV for tables, Markdown for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phoneme_moe.files import write_text
from phoneme_moe.reproductions.experiment import Cell, Experiment, Outcome, Table
from phoneme_moe.reproductions.statistics import Estimate

SCHEMA_VERSION = 1
"""Version of ``results.json`` (docs/schemas/reproduction.schema.json)."""


def write_outcome(
    experiment: Experiment,
    outcome: Outcome,
    figures: Sequence[str],
    folder: Path,
    *,
    seeds: int,
    quick: bool,
) -> list[Path]:
    """Writes ``results.json``, a CSV for each table and ``results.md``.

    Args:
        experiment: What was done again.
        outcome: What came of it.
        figures: Names of the figures in the folder.
        folder: Where to write.
        seeds: Runs of each system.
        quick: Whether it was the quick form.

    Returns:
        The files, figures included.
    """
    data = {
        "version": SCHEMA_VERSION,
        "name": experiment.name,
        "paper": experiment.paper,
        "question": experiment.question,
        "known": list(experiment.known),
        "chosen": list(experiment.chosen),
        "shortfalls": list(experiment.shortfalls),
        "seeds": seeds,
        "quick": quick,
        "figures": list(figures),
        **asdict(outcome),
    }
    contents = {"results.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n"}
    for table in outcome.tables:
        contents[f"{table.name}.csv"] = table_csv(table)
    contents["results.md"] = markdown(json.loads(contents["results.json"]))
    for name, text in contents.items():
        write_text(folder / name, text)
    return [*(folder / name for name in contents), *(folder / name for name in figures)]


def table_csv(table: Table) -> str:
    """A table with a column each for mean, ends of the interval and runs of an estimate."""
    spread = [
        any(isinstance(row[i], Estimate) for row in table.rows) for i in range(len(table.columns))
    ]
    head: list[str] = []
    for name, wide in zip(table.columns, spread, strict=True):
        head += [name, f"{name} low", f"{name} high", f"{name} runs"] if wide else [name]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in table.rows:
        cells: list[Any] = []
        for cell, wide in zip(row, spread, strict=True):
            if isinstance(cell, Estimate):
                cells += [cell.mean, cell.low, cell.high, cell.count]
            else:
                cells += [cell, None, None, None] if wide else [cell]
        writer.writerow(cells)
    return text.getvalue()


def cell_text(cell: Cell | Mapping[str, Any], digits: int) -> str:
    """A cell for people: a mean with half its 95 % interval, a number, or text."""
    if isinstance(cell, Mapping):
        cell = Estimate(**cell)
    if isinstance(cell, Estimate):
        # Epochs and the like need no decimals.
        places = 0 if abs(cell.mean) >= 200 else digits
        mean = f"{cell.mean:,.{places}f}"
        # A single run has no interval.
        return mean if cell.count == 1 else f"{mean} ± {(cell.high - cell.low) / 2:,.{places}f}"
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    places = 0 if isinstance(cell, int) or abs(cell) >= 200 else digits
    return f"{cell:,.{places}f}"


def markdown(data: Mapping[str, Any], images: str = "") -> str:
    """A reproduction as Markdown, from the content of its ``results.json``.

    Args:
        data: The content.
        images: What stands before the names of figures: a folder with a slash at its end.
    """
    form = "quick form, " if data["quick"] else ""
    parts = [
        f"## {data['name']}",
        f"{data['paper']}.",
        data["question"],
        f"{form.capitalize()}{data['seeds']} runs; ± is half of the 95 % interval of the mean.",
    ]
    for table in data["tables"]:
        rows = [[cell_text(cell, table["digits"]) for cell in row] for row in table["rows"]]
        parts += [f"### {table['title']}", _markdown_table(table["columns"], rows)]
    verdicts = [
        [c["statement"], c["published"], c["reproduced"], "yes" if c["holds"] else "**no**"]
        for c in data["claims"]
    ]
    parts += [
        "### What held",
        _markdown_table(["finding", "published", "here", "holds"], verdicts),
        *(f"![{name}]({images}{name})" for name in data["figures"] if name.endswith(".svg")),
        *(
            ["**What fell short, and why:**", _bullets(data["shortfalls"])]
            if data["shortfalls"]
            else []
        ),
        "**Known** from the paper:",
        _bullets(data["known"]),
        "**Chosen** here, because the paper does not say:",
        _bullets(data["chosen"]),
    ]
    return "\n\n".join(parts) + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line.rstrip('.')}." for line in lines)


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
