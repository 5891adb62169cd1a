"""Drawing of a heat map: cells with numbers and outlines; a tree and bars stand beside them.

Legend: R rows (speakers, phonemes, layers), E columns (experts).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, FixedTicker

from phoneme_moe.report.page.heat_map import TREE, HeatMap
from phoneme_moe.report.page.heat_margins import draw_bars, draw_tree
from phoneme_moe.report.page.plots import (
    FONT,
    frame,
    hover,
    lookups,
    mapper,
    names_axis,
    plain,
    tag,
    themed,
    to_json,
)


def draw_heat_map(what: HeatMap) -> dict[str, Any]:
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
        heat={"columns": num_columns, "row": what.row_height, "rest": what.head, "top": what.top},
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
        draw_bars(plot, what)
        if what.tree is not None:
            draw_tree(plot, what)
    return to_json(plot)


def _columns_axis(plot: Any, what: HeatMap, beside: bool) -> None:
    """Names over the columns, and over the tree and the bars beside them."""
    axis, count = plot.xaxis[0], len(what.columns)
    named = {i + 0.5: plain(name, 18) for i, name in enumerate(what.columns)}
    if beside:
        named[sum(what.bars[:2]) / 2] = "in effect"
        if what.tree is not None:
            named[count * sum(TREE) / 2] = "likeness"
    axis.ticker = FixedTicker(ticks=list(named))
    axis.major_label_overrides = named
    if what.upright:
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
    if what.numbered:
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
    if what.numbered:
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
