"""Results of a reproduction: the model of ``results.json``, its tables as CSV, its page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from phoneme_moe.files.documents import Document
from phoneme_moe_reproductions.statistics import Estimate

_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True)

Cell = str | int | float | Estimate | None
"""Of a table: text, a number, or a mean with its interval."""


@dataclass(frozen=True, config=_CONFIG)
class Table:
    """Published and reproduced figures side by side."""

    name: str
    """``NAME.csv`` holds the same table."""
    title: str
    columns: tuple[str, ...]
    """Headings."""
    rows: tuple[tuple[Cell, ...], ...]
    """A cell below each heading."""
    digits: int = 1
    """Decimals shown to people."""


@dataclass(frozen=True, config=_CONFIG)
class Claim:
    """A finding of the paper, and whether it was reproduced."""

    statement: str
    """The finding, with the rule by which it holds."""
    published: str
    """The paper's figure or words."""
    reproduced: str
    """Our figure."""
    holds: bool


@dataclass(frozen=True)
class Outcome:
    """What the results of all jobs amount to."""

    tables: tuple[Table, ...]
    claims: tuple[Claim, ...]


class ReproductionDocument(Document):
    """``results.json`` of a reproduction."""

    version: Literal[1] = 1
    name: str
    paper: str
    """Where the experiment was published."""
    question: str
    known: tuple[str, ...]
    """What the paper says about the method."""
    chosen: tuple[str, ...]
    """What the paper does not say, and what was chosen here."""
    shortfalls: tuple[str, ...]
    """What was not reproduced, and why."""
    seeds: PositiveInt
    """Runs of each system."""
    quick: bool
    """Whether this is the short form, which only shows that the experiment runs."""
    figures: tuple[str, ...]
    """Files beside this one."""
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...]


def table_csv(table: Table) -> str:
    """A table with four columns (mean, interval, runs) for each column that has estimates."""
    has_interval = [
        any(isinstance(row[i], Estimate) for row in table.rows) for i in range(len(table.columns))
    ]
    head: list[str] = []
    for name, wide in zip(table.columns, has_interval, strict=True):
        head += [name, f"{name} low", f"{name} high", f"{name} runs"] if wide else [name]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in table.rows:
        cells: list[Any] = []
        for cell, wide in zip(row, has_interval, strict=True):
            if isinstance(cell, Estimate):
                cells += [cell.mean, cell.low, cell.high, cell.count]
            else:
                cells += [cell, None, None, None] if wide else [cell]
        writer.writerow(cells)
    return text.getvalue()


def cell_text(cell: Cell, digits: int) -> str:
    """A cell for people: a mean with half its 95 % interval, a number, or text."""
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


def markdown(document: ReproductionDocument, images: str = "") -> str:
    """A reproduction as a section of Markdown.

    Args:
        document: Its results.
        images: Prefix of the figures' file names: a folder with a slash at its end.
    """
    form = "Quick form, " if document.quick else ""
    parts = [
        f"## {document.name}",
        f"{document.paper}.",
        document.question,
        f"{form}{document.seeds} runs; ± is half of the 95 % interval of the mean.",
    ]
    for table in document.tables:
        rows = [[cell_text(cell, table.digits) for cell in row] for row in table.rows]
        parts += [f"### {table.title}", _markdown_table(table.columns, rows)]
    verdicts = [
        [c.statement, c.published, c.reproduced, "yes" if c.holds else "**no**"]
        for c in document.claims
    ]
    parts += [
        "### Findings",
        _markdown_table(["finding", "published", "here", "holds"], verdicts),
        *(f"![{name}]({images}{name})" for name in document.figures if name.endswith(".svg")),
    ]
    for heading, lines in (
        ("**Not reproduced, and why:**", document.shortfalls),
        ("**Stated** in the paper:", document.known),
        ("**Chosen** here, because the paper does not say:", document.chosen),
    ):
        if lines:
            parts += [heading, "\n".join(f"- {line.rstrip('.')}." for line in lines)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
