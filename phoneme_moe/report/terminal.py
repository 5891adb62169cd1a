"""The report as a table for the terminal: speakers by experts, in 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from phoneme_moe.report.number_format import in_percent, number, percent
from phoneme_moe.report.statistics import Floats, RoutingReport, effective_number
from phoneme_moe.system.terminal import printable

#: Maximum number of speakers; beyond it, those with the most effective experts are shown.
_MOST_SPEAKERS, _SHOWN_SPEAKERS = 40, 20
#: Number of experts named per speaker if not all fit side by side.
_TOP = 3
_OWN = "*"
_BEST = "bold reverse"


def routing_table_text(report: RoutingReport, width: int = 80) -> RenderableType:
    """Formats the weights in per cent as a table for the terminal.

    Every expert has a column if all fit; otherwise each speaker's three experts with the greatest
    weights are named. Marks are ASCII (``*`` for the speaker's own expert), and colour is
    redundant.

    Args:
        report: The statistics.
        width: Width of the terminal in columns.

    Returns:
        A ``rich`` renderable.
    """
    label = report.label_name
    if len(report.experts) == 1:
        return Text(f"One expert, {report.experts[0]}, serves every {label}: there is no routing.")
    shown, notes = report, []
    total = len(report.speakers)
    if total > _MOST_SPEAKERS:
        shown = report.select(report.most_blended(_SHOWN_SPEAKERS))
        median = number(float(np.median(report.effective_experts)), 1)
        notes.append(
            f"{_SHOWN_SPEAKERS} of {total:,} {label}s: those with the most effective experts "
            f"(median of all: {median})."
        )
    table = _all_experts(shown) if _width_of(shown) <= width else _top_experts(shown)
    notes.append(
        f"Mean weight in % over {int(report.rows.sum()):,} {report.unit}s. "
        "Eff. experts: effective number of experts."
    )
    if _has_own(shown):
        notes.append(f"{_OWN} and own expert: the one named after the {label}.")
    if report.dead:
        notes.append("Dead: " + ", ".join(report.experts[i] for i in report.dead) + ".")
    return Group(table, Text(" ".join(notes), style="dim"))


def _all_experts(report: RoutingReport) -> Table:
    table = _table(report, report.experts, justify="right")
    for i, speaker in enumerate(report.speakers):
        cells = _number_cells(report.weights[i], report.own_expert[i])
        table.add_row(Text(printable(speaker)), *cells, *_summary_cells(report, i))
    table.add_section()
    table.add_row("all", *_number_cells(report.load, None), *_overall_cells(report))
    return table


def _top_experts(report: RoutingReport) -> Table:
    top = min(_TOP, len(report.experts))
    table = _table(report, ("first", "second", "third")[:top], justify="left")
    for i, speaker in enumerate(report.speakers):
        cells = _named_cells(report, report.weights[i], report.own_expert[i], top)
        table.add_row(Text(printable(speaker)), *cells, *_summary_cells(report, i))
    table.add_section()
    table.add_row("all", *_named_cells(report, report.load, None, top), *_overall_cells(report))
    return table


def _table(
    report: RoutingReport, headings: Sequence[str], justify: Literal["left", "right"]
) -> Table:
    """A table with columns of the speaker, weights and summary values."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(report.label_name, overflow="fold", vertical="bottom")
    for heading in headings:
        table.add_column(Text(printable(heading)), justify=justify, no_wrap=justify == "right")
    for heading in _summary_headings(report):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _summary_headings(report: RoutingReport) -> list[str]:
    return ["eff.\nexperts", *(["own\nexpert"] if _has_own(report) else [])]


def _has_own(report: RoutingReport) -> bool:
    return any(expert is not None for expert in report.own_expert)


def _number_cells(weights: Floats, own_expert: int | None) -> list[Text]:
    """One number per expert, with a blank instead of a mark for alignment."""
    best = int(weights.argmax())
    return [
        Text(in_percent(weight, 0), _BEST if expert == best else "")
        + Text(_OWN if expert == own_expert else " ")
        for expert, weight in enumerate(weights)
    ]


def _named_cells(
    report: RoutingReport, weights: Floats, own_expert: int | None, top: int
) -> list[Text]:
    """The experts with the greatest weights by name, except those that round to 0."""
    heaviest = np.argsort(-weights, kind="stable")[:top]
    return [
        Text(f"{report.experts[expert]}{_OWN if expert == own_expert else ''} ")
        + Text(in_percent(weights[expert], 0), _BEST if rank == 0 else "")
        if weights[expert] >= 0.005
        else Text()
        for rank, expert in enumerate(heaviest.tolist())
    ]


def _summary_cells(report: RoutingReport, speaker: int) -> list[Text]:
    cells = [Text(number(report.effective_experts[speaker], 1))]
    if _has_own(report):
        share = report.own_share[speaker]
        cells.append(Text("-" if share is None else percent(share)))
    return cells


def _overall_cells(report: RoutingReport) -> list[Text]:
    return [Text(number(float(effective_number(report.load)), 1))]


def _width_of(report: RoutingReport) -> int:
    """Width of the table with all experts, with one blank after each column."""
    names = max(cell_len(name) for name in (report.label_name, *report.speakers))
    experts = sum(max(cell_len(name), 4) + 1 for name in report.experts)
    summary = sum(len(heading.splitlines()[-1]) + 1 for heading in _summary_headings(report))
    return names + 1 + experts + summary + 2
