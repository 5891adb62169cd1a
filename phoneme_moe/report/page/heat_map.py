"""The heat map of a report as data, and as a figure and a table of the page.

``heat_plot.py`` draws it on the page, ``report/paper`` as a file for papers.
Legend: R rows (speakers, phonemes, layers), E columns (experts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.report.number_format import DASH, in_percent, plural
from phoneme_moe.report.page.palette import scale_top, shade
from phoneme_moe.report.page.parts import Cell, Figure, Row, Table, row

Floats = NDArray[np.float64]
#: Largest number of rows and columns with numbers in the cells.
_NUMBERED_ROWS, _NUMBERED_COLUMNS = 48, 16


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Weights to draw, with rows and columns in drawing order.

    Attributes:
        rows: Names of the R rows.
        columns: Names of the E columns.
        weights: Weights, 0..1, shape (rows, columns); NaN for no value.
        adjusted: Weights for the other setting of the page's switch; None without a switch.
        intervals: Ends of intervals, shape (rows, columns, 2); None if unknown.
        facts: Additional lines of the tooltip, label to one value per row.
        outlined: Index of the outlined column of each row; None if there is none.
        outline: Meaning of the outline.
        effective: Effective number of experts of each row, shape (rows,); None for no bars.
        within: Effective number of experts within one frame, shape (rows,).
        tree: scipy's linkage of the rows, with leaves numbered in drawing order.
        unit: Unit of averaging, frame or token.
        kinds: Nouns for a row and a column.
        measure: Name of the value of a cell.
        links: Address of the clips of each cell, or empty; none if there are no clips.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    weights: Floats
    adjusted: Floats | None = None
    intervals: Floats | None = None
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    outlined: Sequence[int | None] = ()
    outline: str = ""
    effective: Floats | None = None
    within: Floats | None = None
    tree: Sequence[Sequence[float]] | None = None
    unit: str = "frame"
    kinds: tuple[str, str] = ("speaker", "expert")
    measure: str = "weight"
    links: Sequence[Sequence[str]] = ()

    @property
    def top(self) -> float:
        """The weight with the strongest colour: 1, or less if all weights are small."""
        return scale_top(self.weights)

    @property
    def numbered(self) -> bool:
        """Whether every cell has room for a number."""
        return len(self.rows) <= _NUMBERED_ROWS and len(self.columns) <= _NUMBERED_COLUMNS

    @property
    def upright(self) -> bool:
        """Whether column names are vertical for lack of space."""
        return len(self.columns) * max(len(name) for name in self.columns) > 84

    @property
    def branches(self) -> list[tuple[list[float], list[float]]]:
        """Horizontal (0..1) and vertical places (in rows) of the four points of every join.

        Rows that join near 0 have similar weights. Empty without a tree.
        """
        longest = max((float(join[2]) for join in self.tree or ()), default=0.0) or 1.0
        places = [(0.0, leaf + 0.5) for leaf in range(len(self.rows))]
        joins = []
        for first, second, distance, *_ in self.tree or ():
            (x1, y1), (x2, y2) = places[int(first)], places[int(second)]
            x = float(distance) / longest
            joins.append(([x1, x, x, x2], [y1, y1, y2, y2]))
            places.append((x, (y1 + y2) / 2))
        return joins

    @property
    def bars_end(self) -> float:
        """Effective number of experts at the right end of the bars."""
        return 2.0 if self.effective is None else max(2.0, float(self.effective.max()))

    def figure(self, name: str, title: str, caption: str, beside: str = "") -> Figure:
        """The heat map as a figure.

        Args:
            name: Identifier of the figure.
            title: Description of the content for screen readers.
            caption: Explanation of how to read it.
            beside: Explanation of tree and bars, which a narrow screen does not show.
        """
        rows, columns = self.kinds
        label = (
            f"Heat map of {title}, {plural(len(self.rows), rows)} by "
            f"{plural(len(self.columns), columns)}"
        )
        return Figure(name, label, caption, self, beside=beside)

    def table(
        self,
        caption: str,
        *,
        weights: Floats | None = None,
        more: Mapping[str, Sequence[Cell | str]] | None = None,
        total: tuple[str, Floats] | None = None,
        places: int = 1,
        flat: bool = False,
        **options: Any,
    ) -> Table:
        """Converts the cells to a table of the page, shaded as in the plot.

        Args:
            caption: Caption of the table.
            weights: Weights, shape (rows, columns); by default those of the heat map.
            more: Additional columns on the right, heading to one cell per row.
            total: Heading and weights of a final row over all rows.
            places: Number of decimals of the percentages.
            flat: Whether to style it as a heat map, for a page without plots.
            options: Other attributes of the table.
        """
        shown = self.weights if weights is None else weights
        ends = self.intervals if weights is None else None
        right = more or {}

        def cell(i: int, j: int) -> Cell:
            outlined = i < len(self.outlined) and self.outlined[i] == j
            if np.isnan(shown[i, j]):
                return Cell(DASH, outlined=outlined)
            note = "" if ends is None else "–".join(in_percent(end) for end in ends[i, j])
            step = shade(shown[i, j], self.top)
            link = self.links[i][j] if self.links else ""
            return Cell(in_percent(shown[i, j], places), note, step, outlined, link=link)

        rows: list[Row] = [
            row(
                name,
                *(cell(i, j) for j in range(len(self.columns))),
                *(values[i] for values in right.values()),
            )
            for i, name in enumerate(self.rows)
        ]
        if total is not None:
            cells = [Cell(in_percent(part), shade=shade(part, self.top)) for part in total[1]]
            rows.append((total[0], cells))
        head = (self.kinds[0], *self.columns, *right)
        if flat:
            names = ["heat", "" if self.numbered else "dense", "upright" if self.upright else ""]
            options["classes"] = " ".join(filter(None, [*names, options.get("classes")]))
            options |= {"cells": len(self.columns), "top": self.top}
        options |= {"total": total is not None, "outline": self.outline}
        return Table(caption, head, rows, **options)
