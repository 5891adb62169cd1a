"""Links from the cells of the heat maps to the clips beside the page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal
from urllib.parse import quote

Kind = Literal["speaker", "phoneme"]
Cells = Collection[tuple[Kind, str, str]]
"""Cells with clips: the kind of the row, its name, and the expert that leads."""

CLIPS = "clips"
"""Folder of the clips, beside the page."""


def cell_links(
    kind: Kind, rows: Sequence[str], experts: Sequence[str], cells: Cells
) -> list[list[str]]:
    """The address of each cell's clips, empty for a cell without; none if no cell has any.

    Args:
        kind: What the rows are.
        rows: Names of the rows.
        experts: Names of the columns.
        cells: The cells with clips.
    """
    if not cells:
        return []
    return [
        [_link(kind, row, expert) if (kind, row, expert) in cells else "" for expert in experts]
        for row in rows
    ]


def _link(kind: Kind, row: str, expert: str) -> str:
    cell = f'{kind}="{row}" expert="{expert}"'
    return f"{CLIPS}/index.html#{quote(cell)}"
