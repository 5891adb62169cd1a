"""What a heat map of the page tells, and the room that it takes.

Legend: R rows (speakers, phonemes, layers), E columns (experts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.report.page.plots import plain, rows_height

Floats = NDArray[np.float64]
#: Cells for which numbers are written into them.
_NUMBERED_ROWS, _NUMBERED_COLUMNS = 48, 16
#: Where tree and bars begin and end to the right of the cells, in widths of all cells; without a
#: tree the bars stand nearer.
TREE, _BARS, _END, _NEARER = (1.012, 1.10), (1.13, 1.27), 1.345, 0.09


@dataclass(frozen=True, eq=False)
class HeatMap:
    """What to draw, rows and columns in the order to draw them.

    Attributes:
        rows: Names of the R rows.
        columns: Names of the E columns.
        weights: In 0..1, shape (rows, columns); NaN for no value.
        adjusted: The same for the other setting of the switch; None where there is none.
        intervals: Ends, shape (rows, columns, 2); None where unknown.
        facts: More lines of the tooltip, words to one value per row.
        own: Index of each row's own column; None where there is none.
        effective: Experts in effect of each row, shape (rows,); None leaves the bars out.
        inside: The same inside one frame, shape (rows,).
        tree: scipy's linkage of the rows, with leaves numbered in drawing order.
        unit: What is averaged over, a frame or a token.
        column_word: What a column is.
        value_word: What a cell is.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    weights: Floats
    adjusted: Floats | None = None
    intervals: Floats | None = None
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    own: Sequence[int | None] = ()
    effective: Floats | None = None
    inside: Floats | None = None
    tree: Sequence[Sequence[float]] | None = None
    unit: str = "frame"
    column_word: str = "expert"
    value_word: str = "weight"

    @property
    def row_height(self) -> int:
        """CSS pixels of one row."""
        return 34 if len(self.rows) <= 14 else 21 if len(self.rows) <= 48 else 12

    @property
    def height(self) -> int:
        """CSS pixels of the plot."""
        return rows_height(len(self.rows), self.row_height, self.head)

    @property
    def min_width(self) -> int:
        """CSS pixels below which the cells could not be told apart."""
        return 110 + (27 if self.numbered else 9) * len(self.columns)

    @property
    def top(self) -> float:
        """The weight with the strongest colour: 1, or less where even the greatest is small."""
        return colour_top(self.weights)

    @property
    def bars(self) -> tuple[float, float, float]:
        """Start and end of the bars, and the end of everything, in columns."""
        nearer = _NEARER if self.tree is None else 0.0
        start, stop, end = (len(self.columns) * (x - nearer) for x in (*_BARS, _END))
        return start, stop, end

    @property
    def numbered(self) -> bool:
        """Whether there is room for a number in every cell."""
        return len(self.rows) <= _NUMBERED_ROWS and len(self.columns) <= _NUMBERED_COLUMNS

    @property
    def upright(self) -> bool:
        """Whether names of columns are turned, for want of room."""
        return len(self.columns) * max(len(name) for name in self.columns) > 84

    @property
    def head(self) -> int:
        """CSS pixels above the cells, for the names of the columns."""
        longest = max(len(plain(name, 18)) for name in self.columns)
        return 16 + (7 * longest if self.upright else 16)


def colour_top(weights: Floats) -> float:
    """A round number that no weight exceeds, for the end of the colour scale."""
    greatest = float(np.nanmax(weights, initial=0.0))
    return next((top for top in (0.05, 0.1, 0.2, 0.3, 0.5) if greatest <= top), 1.0)
