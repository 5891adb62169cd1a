"""The report in a terminal: speakers down, experts across, in 80 columns."""

from __future__ import annotations

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from phoneme_moe.report.statistics import Floats, RoutingReport, effective_number
from phoneme_moe.report.verdict import percent

#: More speakers than this are cut to those with most experts in effect.
_MOST_SPEAKERS, _SHOWN_SPEAKERS = 40, 20
#: Experts named per speaker where not all fit side by side.
_TOP = 3
_OWN = "*"
_BEST = "bold reverse"


def routing_table_text(report: RoutingReport, width: int = 80) -> RenderableType:
    """The weights as a table for the terminal, in per cent.

    Every expert gets a column where they all fit; otherwise each speaker's three heaviest experts
    are named. Marks are ASCII (``*`` for the own expert), colour only repeats what numbers say.

    Args:
        report: The statistics.
        width: Columns of the terminal.

    Returns:
        Something ``rich`` prints.
    """
    if len(report.experts) == 1:
        return Text(f"One expert, {report.experts[0]}, serves everybody: there is no routing.")
    shown, notes = report, []
    total = len(report.speakers)
    if total > _MOST_SPEAKERS:
        shown = report.select(report.most_blended(_SHOWN_SPEAKERS))
        notes.append(
            f"{_SHOWN_SPEAKERS} of {total} speakers: those with most experts in effect; "
            f"median of all: {np.median(report.effective_experts):.1f}."
        )
    table = _all_experts(shown) if _wide_as(shown) <= width else _top_experts(shown)
    notes.append(
        f"Mean gate weight in % of {int(report.rows.sum()):,} {report.unit}s. "
        "eff: experts in effect."
    )
    if any(own is not None for own in shown.own):
        notes.append(f"{_OWN} or own: the speaker's own expert.")
    if report.dead:
        notes.append("Dead: " + ", ".join(report.experts[i] for i in report.dead) + ".")
    return Group(table, Text(" ".join(notes), style="dim"))


def _all_experts(report: RoutingReport) -> Table:
    table = _table()
    for expert in report.experts:
        table.add_column(Text(expert), justify="right", no_wrap=True)
    _add_effect_columns(table)
    for i, speaker in enumerate(report.speakers):
        cells = _number_cells(report.weights[i], report.own[i])
        table.add_row(Text(speaker), *cells, *_effect_cells(report, i))
    table.add_section()
    table.add_row("all", *_number_cells(report.load, None), *_overall_cells(report))
    return table


def _top_experts(report: RoutingReport) -> Table:
    table = _table()
    top = min(_TOP, len(report.experts))
    for heading in ("first", "second", "third")[:top]:
        table.add_column(heading)
    _add_effect_columns(table)
    for i, speaker in enumerate(report.speakers):
        cells = _named_cells(report, report.weights[i], report.own[i], top)
        table.add_row(Text(speaker), *cells, *_effect_cells(report, i))
    table.add_section()
    table.add_row("all", *_named_cells(report, report.load, None, top), *_overall_cells(report))
    return table


def _table() -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("speaker", overflow="fold")
    return table


def _add_effect_columns(table: Table) -> None:
    for heading in ("eff", "own"):
        table.add_column(heading, justify="right", no_wrap=True)


def _number_cells(weights: Floats, own: int | None) -> list[Text]:
    """One number per expert; a blank instead of a mark keeps the digits in line."""
    best = int(weights.argmax())
    return [
        Text(f"{100 * weight:.0f}", _BEST if expert == best else "")
        + Text(_OWN if expert == own else " ")
        for expert, weight in enumerate(weights)
    ]


def _named_cells(report: RoutingReport, weights: Floats, own: int | None, top: int) -> list[Text]:
    """The heaviest experts by name; weights that round to nothing stay unnamed."""
    heaviest = np.argsort(-weights, kind="stable")[:top]
    return [
        Text(f"{report.experts[expert]}{_OWN if expert == own else ''} ")
        + Text(f"{100 * weights[expert]:.0f}", _BEST if rank == 0 else "")
        if weights[expert] >= 0.005
        else Text()
        for rank, expert in enumerate(heaviest.tolist())
    ]


def _effect_cells(report: RoutingReport, speaker: int) -> list[Text]:
    share = report.own_share[speaker]
    return [
        Text(f"{report.effective_experts[speaker]:.1f}"),
        Text("-" if share is None else percent(share)),
    ]


def _overall_cells(report: RoutingReport) -> list[Text]:
    return [Text(f"{float(effective_number(report.load)):.1f}"), Text()]


def _wide_as(report: RoutingReport) -> int:
    """Columns the table with every expert needs, each with one blank after it."""
    names = max(cell_len(name) for name in ("speaker", *report.speakers))
    experts = sum(max(cell_len(name), 4) + 1 for name in report.experts)
    return names + 1 + experts + len("14.8 100 % ") + 2
