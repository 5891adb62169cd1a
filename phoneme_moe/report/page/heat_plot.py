"""The heat map of the page: rows by experts, with numbers, outlines, a tree and bars beside it.

Legend: R rows (speakers, phonemes, layers), E columns (experts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, FixedTicker
from numpy.typing import NDArray

from phoneme_moe.report.page.plots import (
    FONT,
    frame,
    hover,
    lookups,
    mapper,
    names_axis,
    plain,
    rows_height,
    tag,
    themed,
    to_json,
)

Floats = NDArray[np.float64]
#: Cells for which numbers are written into them.
_NUMBERED_ROWS, _NUMBERED_COLUMNS = 48, 16
#: Where tree and bars begin and end to the right of the cells, in widths of all cells; without a
#: tree the bars stand nearer.
_TREE, _BARS, _END, _NEARER = (1.012, 1.10), (1.13, 1.27), 1.345, 0.09


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
        return rows_height(len(self.rows), self.row_height, self._head)

    @property
    def min_width(self) -> int:
        """CSS pixels below which the cells could not be told apart."""
        return 110 + (27 if self._numbered else 9) * len(self.columns)

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
    def _numbered(self) -> bool:
        return len(self.rows) <= _NUMBERED_ROWS and len(self.columns) <= _NUMBERED_COLUMNS

    @property
    def _upright(self) -> bool:
        return len(self.columns) * max(len(name) for name in self.columns) > 84

    @property
    def _head(self) -> int:
        """CSS pixels above the cells, for the names of the columns."""
        longest = max(len(plain(name, 18)) for name in self.columns)
        return 16 + (7 * longest if self._upright else 16)


def colour_top(weights: Floats) -> float:
    """A round number that no weight exceeds, for the end of the colour scale."""
    greatest = float(np.nanmax(weights, initial=0.0))
    return next((top for top in (0.05, 0.1, 0.2, 0.3, 0.5) if greatest <= top), 1.0)


def heat_map(what: HeatMap) -> dict[str, Any]:
    """The heat map as plain values for the page."""
    num_rows, num_columns = what.weights.shape
    beside = what.effective is not None
    plot = frame(
        what.height,
        (0, what.bars[2] if beside else num_columns),
        (num_rows, 0),
        min_border_right=2,
        min_border_bottom=4,
        x_axis_location="above",
    )
    tag(
        plot,
        heat={"columns": num_columns, "row": what.row_height, "rest": what._head, "top": what.top},
    )
    names_axis(plot, what.rows)
    if what.row_height < 20:
        plot.yaxis[0].major_label_text_font_size = "10px"
    _columns_axis(plot, what, beside)
    cells = _cells(plot, what)
    lines = [f"<b>@row_name</b> · {what.column_word} <b>@column_name</b>"]
    lines.append(f"{what.value_word} @weight{{0.0%}}")
    if what.intervals is not None:
        lines.append("95 % interval @low{0.0%} to @high{0.0%}")
    lines += [f"@{{{name}}} {name}" for name in what.facts]
    hover(plot, [cells], lines)
    if any(own is not None for own in what.own):
        _outlines(plot, what)
    if beside:
        _bars(plot, what)
        if what.tree is not None:
            _tree(plot, what)
    return to_json(plot)


def _columns_axis(plot: Any, what: HeatMap, beside: bool) -> None:
    """Names over the columns, and over the tree and the bars beside them."""
    axis, count = plot.xaxis[0], len(what.columns)
    named = {i + 0.5: plain(name, 18) for i, name in enumerate(what.columns)}
    if beside:
        named[sum(what.bars[:2]) / 2] = "in effect"
        if what.tree is not None:
            named[count * sum(_TREE) / 2] = "likeness"
    axis.ticker = FixedTicker(ticks=list(named))
    axis.major_label_overrides = named
    if what._upright:
        axis.major_label_orientation = "vertical"
    if count > 24:
        axis.major_label_text_font_size = "10px"


def _cells(plot: Any, what: HeatMap) -> Any:
    """The coloured cells and, where there is room, their numbers."""
    num_rows, num_columns = what.weights.shape
    row, column = np.divmod(np.arange(num_rows * num_columns), num_columns)
    data: dict[str, Any] = {
        "row": row.astype(np.uint16),
        "column": column.astype(np.uint16),
        "x": (column + 0.5).astype(np.float32),
        "y": (row + 0.5).astype(np.float32),
        "weight": what.weights.ravel().astype(np.float32),
    }
    if what.adjusted is not None:
        data["weight_raw"] = data["weight"]
        data["weight_adjusted"] = what.adjusted.ravel().astype(np.float32)
    if what.intervals is not None:
        ends = what.intervals.reshape(-1, 2).astype(np.float32)
        data |= {"low": ends[:, 0].copy(), "high": ends[:, 1].copy()}
    if what._numbered:
        data |= {"text": [""] * len(row), "ink": ["#000000"] * len(row)}
    source = ColumnDataSource(data, name="cells")
    tag(source, top=what.top)
    lookups(
        source,
        row_name={"by": "row", "of": list(what.rows)},
        column_name={"by": "column", "of": list(what.columns)},
        **{name: {"by": "row", "of": list(values)} for name, values in what.facts.items()},
    )
    cells = plot.rect(
        "x",
        "y",
        1,
        1,
        source=source,
        fill_color={"field": "weight", "transform": mapper(0, what.top)},
        line_width=1.5 if what.row_height > 20 and num_columns <= 24 else 0.5,
    )
    themed(cells.glyph, line_color="--paper")
    if what._numbered:
        plot.text(
            "x",
            "y",
            "text",
            source=source,
            text_color="ink",
            text_font=value(FONT),
            text_font_size="13px" if what.row_height > 30 else "11px",
            text_align="center",
            text_baseline="middle",
        )
    return cells


def _outlines(plot: Any, what: HeatMap) -> None:
    """A frame about each row's own column."""
    pairs = [(row, own) for row, own in enumerate(what.own) if own is not None]
    source = ColumnDataSource(
        {
            "row": [row for row, _ in pairs],
            "x": [own + 0.5 for _, own in pairs],
            "y": [row + 0.5 for row, _ in pairs],
        }
    )
    inset = 0.94 if what.row_height > 20 else 1.0
    frames = plot.rect(
        "x",
        "y",
        0.985 if len(what.columns) <= 24 else 1.0,
        inset,
        source=source,
        fill_color=None,
        line_width=2.5 if what.row_height > 20 else 1.5,
    )
    themed(frames.glyph, line_color="--own")


def _bars(plot: Any, what: HeatMap) -> None:
    """Experts in effect: the bar over all frames, the tick inside one frame."""
    assert what.effective is not None
    count, rows = len(what.columns), len(what.rows)
    inside = what.effective if what.inside is None else what.inside
    start, stop, _ = what.bars
    room = stop - start
    scale = room / max(2.0, float(what.effective.max()))
    end = start + what.effective * scale
    source = ColumnDataSource(
        {
            "row": list(range(rows)),
            "y": np.arange(rows) + 0.5,
            "left": np.full(rows, start),
            "right": end,
            "tick": start + inside * scale,
            "effective": what.effective,
            "inside": inside,
            "label": [f"{value:.1f}" for value in what.effective],
        }
    )
    lookups(source, row_name={"by": "row", "of": list(what.rows)})
    bars = plot.hbar(y="y", left="left", right="right", height=0.52, source=source)
    themed(bars.glyph, fill_color="--bar", line_color="--bar")
    if what.inside is not None:
        ticks = plot.rect("tick", "y", count * 0.003, 0.72, source=source, line_color=None)
        themed(ticks.glyph, fill_color="--ink")
    if what.row_height > 11:
        text = plot.text(
            "right",
            "y",
            "label",
            source=source,
            x_offset=5,
            text_font=value(FONT),
            text_font_size="12px" if what.row_height > 20 else "9px",
            text_baseline="middle",
        )
        themed(text.glyph, text_color="--quiet")
    lines = ["<b>@row_name</b>", "@effective{0.00} experts in effect"]
    if what.inside is not None:
        lines.append(f"@inside{{0.00}} inside one {what.unit}")
    hover(plot, [bars], lines)


def _tree(plot: Any, what: HeatMap) -> None:
    """The dendrogram: rows joined early, near the cells, are alike."""
    assert what.tree is not None
    count, leaves = len(what.columns), len(what.rows)
    start, room = count * _TREE[0], count * (_TREE[1] - _TREE[0])
    longest = max((float(join[2]) for join in what.tree), default=0.0) or 1.0
    places = [(0.0, leaf + 0.5) for leaf in range(leaves)]
    xs, ys = [], []
    for first, second, distance, *_ in what.tree:
        (x1, y1), (x2, y2) = places[int(first)], places[int(second)]
        x = float(distance) / longest
        xs.append([start + room * part for part in (x1, x, x, x2)])
        ys.append([y1, y1, y2, y2])
        places.append((x, (y1 + y2) / 2))
    lines = plot.multi_line(xs, ys, line_width=1.5 if leaves <= 48 else 1, name="tree")
    themed(lines.glyph, line_color="--quiet")
