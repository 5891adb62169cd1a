"""A comparison in a terminal of 80 columns.

Reads the document that ``comparison.json`` holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from phoneme_moe.report.compare.text import Document, points, probability

#: Speakers in the table: those that change most.
_SHOWN = 8


def comparison_text(document: Document) -> RenderableType:
    """The verdict and the speakers that change most, for a terminal.

    Args:
        document: All of the comparison.

    Returns:
        Something ``rich`` prints, about 30 lines in 80 columns.
    """
    told = " ".join([*document["verdict"], *document["missing"]])
    parts: list[RenderableType] = [
        Text(f"A {document['a']['name']}, B {document['b']['name']}", style="bold"),
        Text(
            f"{document['num_utterances']:,} utterances of {document['corpus']} "
            f"{document['split']}",
            style="dim",
        ),
        Text(),
        Text(told),
        _table(document),
    ]
    return Group(*parts)


def _table(document: Document) -> Table:
    rates, routing = document["error_rate"], document["routing_by_speaker"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("speaker", overflow="ellipsis", no_wrap=True, max_width=20)
    if rates is not None:
        for heading in (f"A {_short(rates)} %", "B", "change", "q"):
            table.add_column(heading, justify="right", no_wrap=True)
    if routing is not None:
        for heading in ("routing moved %", "q"):
            table.add_column(heading, justify="right", no_wrap=True)
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for one in [*(rates["by_speaker"] if rates else []), *(routing or [])]:
        by_name.setdefault(one["speaker"], []).append(one)
    ordered = sorted(by_name, key=lambda name: -_size(by_name[name]))
    for name in ordered[:_SHOWN]:
        cells = []
        for one in by_name[name]:
            cells += _rate_cells(one) if "difference" in one else _routing_cells(one)
        table.add_row(Text(name), *cells)
    if len(ordered) > _SHOWN:
        table.caption = f"{_SHOWN} of {len(ordered)} speakers: those that change most."
        table.caption_justify = "left"
    if rates is not None:
        table.add_section()
        more = [Text()] * (2 if routing is not None else 0)
        cells = _rate_cells({**rates, "q": None, "significant": rates["p"] <= 0.05})
        table.add_row(Text("all"), *cells, *more)
    return table


def _short(rates: Mapping[str, Any]) -> str:
    return "PER" if rates["measure"] == "per" else "error"


def _size(findings: Sequence[Mapping[str, Any]]) -> float:
    """How much changes, real changes before others."""
    return max(
        (10.0 if one["significant"] else 0.0)
        + abs(float(one["difference"] if "difference" in one else one["distance"]))
        for one in findings
    )


def _rate_cells(one: Mapping[str, Any]) -> list[Text]:
    style = "bold" if one["significant"] else ""
    return [
        Text(f"{100 * one['a']:.2f}"),
        Text(f"{100 * one['b']:.2f}"),
        Text(points(one["difference"]), style),
        Text(f"p {probability(one['p'])}" if one["q"] is None else probability(one["q"]), style),
    ]


def _routing_cells(one: Mapping[str, Any]) -> list[Text]:
    style = "bold" if one["significant"] else ""
    return [Text(f"{100 * one['distance']:.0f}", style), Text(probability(one["q"]), style)]
