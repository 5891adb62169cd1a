"""Bokeh plot of a heat map: cells with numbers and outlines, a tree and bars."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, TapTool
from bokeh.plotting import figure

from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.plots import (
    Drawing,
    drawing,
    frame,
    hover,
    lookups,
    mapper,
    names_axis,
    plain,
    tag,
    themed,
    write,
)

#: Start and end of tree and bars to the right of the cells, relative to the total width of the
#: cells; without a tree the bars are nearer.
_TREE, _BARS, _END, _NEARER = (1.012, 1.10), (1.13, 1.27), 1.345, 0.09


def _row_height(heat: HeatMap) -> int:
    """Height of one row in CSS pixels."""
    return 34 if len(heat.rows) <= 14 else 21 if len(heat.rows) <= 48 else 12


def _bars(heat: HeatMap) -> tuple[float, float, float]:
    """Start and end of the bars, and the right end of the plot, in columns."""
    nearer = _NEARER if heat.tree is None else 0.0
    start, stop, end = (len(heat.columns) * (x - nearer) for x in (*_BARS, _END))
    return start, stop, end


def draw_heat_map(heat: HeatMap) -> Drawing:
    """Draws the cells with numbers and outlines, with a tree and bars on the right."""
    num_rows, num_columns = heat.weights.shape
    beside = heat.effective is not None
    longest = max(len(plain(name, 18)) for name in heat.columns)
    turned = 16 + 7 * longest  # room for the column names, vertical or not
    head = turned if heat.upright else 32
    narrow_head = turned if longest > 4 else head
    plot = frame(
        num_rows * _row_height(heat) + head,
        (0, _bars(heat)[2] if beside else num_columns),
        (num_rows, 0),
        min_border_right=2,
        min_border_bottom=4,
        x_axis_location="above",
    )
    sizes = {"columns": num_columns, "row": _row_height(heat), "rest": head, "narrow": narrow_head}
    tag(plot, heat=sizes | {"top": heat.top})
    names_axis(plot, heat.rows)
    if _row_height(heat) < 20:
        plot.yaxis[0].major_label_text_font_size = "10px"
    _draw_columns_axis(plot, heat, beside)
    _draw_cells(plot, heat)
    if any(column is not None for column in heat.outlined):
        _draw_outlines(plot, heat)
    if beside:
        _draw_bars(plot, heat)
        if heat.tree is not None:
            _draw_tree(plot, heat)
    # Below the minimum width, cells could not be distinguished.
    min_width = 110 + (27 if heat.numbered else 9) * num_columns
    return drawing(plot, min_width=min_width, top=heat.top)


def _draw_columns_axis(plot: figure, heat: HeatMap, beside: bool) -> None:
    """Headings of the columns, the tree and the bars."""
    axis, count = plot.xaxis[0], len(heat.columns)
    labels: dict[Any, Any] = {i + 0.5: plain(name, 18) for i, name in enumerate(heat.columns)}
    if beside:
        labels[sum(_bars(heat)[:2]) / 2] = "effective"
        if heat.tree is not None:
            labels[count * sum(_TREE) / 2] = "similarity"
    axis.ticker = FixedTicker(ticks=list(labels))
    axis.major_label_overrides = labels
    if heat.upright:
        axis.major_label_orientation = "vertical"
    if count > 24:
        axis.major_label_text_font_size = "10px"


def _draw_cells(plot: figure, heat: HeatMap) -> None:
    """Draws the coloured cells with tooltips and, if there is room, numbers."""
    num_rows, num_columns = heat.weights.shape
    rows, columns = np.divmod(np.arange(num_rows * num_columns), num_columns)
    data: dict[str, Any] = {
        "row": rows.astype(np.uint16),
        "column": columns.astype(np.uint16),
        "x": (columns + 0.5).astype(np.float32),
        "y": (rows + 0.5).astype(np.float32),
        "weight": heat.weights.ravel().astype(np.float32),
    }
    lines = [f"<b>@row_name</b> · {heat.kinds[1]} <b>@column_name</b>"]
    lines.append(f"{heat.measure} @weight{{0.0%}}")
    if heat.adjusted is not None:
        data["weight_raw"] = data["weight"]
        data["weight_adjusted"] = heat.adjusted.ravel().astype(np.float32)
    if heat.intervals is not None:
        ends = heat.intervals.reshape(-1, 2).astype(np.float32)
        data |= {"low": ends[:, 0].copy(), "high": ends[:, 1].copy()}
        lines.append("95 % interval @low{0.0%} to @high{0.0%}")
    if heat.numbered:
        data |= {"text": [""] * len(rows), "ink": ["#000000"] * len(rows)}
    source = ColumnDataSource(data, name="cells")
    tag(source, top=heat.top)
    lookups(
        source,
        row_name={"by": "row", "of": list(heat.rows)},
        column_name={"by": "column", "of": list(heat.columns)},
        **{name: {"by": "row", "of": list(values)} for name, values in heat.facts.items()},
    )
    wide = _row_height(heat) > 20 and num_columns <= 24
    fill: Any = {"field": "weight", "transform": mapper(0, heat.top)}
    cells = plot.rect(
        "x", "y", 1, 1, source=source, fill_color=fill, line_width=1.5 if wide else 0.5
    )
    themed(cells.glyph, line_color="--paper")
    lines += [f"@{{{name}}} {name}" for name in heat.facts]
    if heat.links:
        lines.append("click: its clips")
        tag(source, clips=[link for row in heat.links for link in row])
        plot.add_tools(TapTool(renderers=[cells]))
        cells.selection_glyph = cells.nonselection_glyph = None
    hover(plot, [cells], lines)
    if heat.numbered:
        size = "13px" if _row_height(heat) > 30 else "11px"
        write(plot, source, "x", "text", size, text_color="ink", text_align="center")


def _draw_outlines(plot: figure, heat: HeatMap) -> None:
    pairs = [(i, column) for i, column in enumerate(heat.outlined) if column is not None]
    source = ColumnDataSource(
        {
            "row": [i for i, _ in pairs],
            "x": [column + 0.5 for _, column in pairs],
            "y": [i + 0.5 for i, _ in pairs],
        }
    )
    tall = _row_height(heat) > 20
    width, height = 0.985 if len(heat.columns) <= 24 else 1.0, 0.94 if tall else 1.0
    line = 2.5 if tall else 1.5
    boxes = plot.rect("x", "y", width, height, source=source, fill_color=None, line_width=line)
    themed(boxes.glyph, line_color="--outline")


def _draw_bars(plot: figure, heat: HeatMap) -> None:
    """Draws the effective number of experts: bar over all frames, tick within one frame."""
    assert heat.effective is not None
    effective, rows = heat.effective, len(heat.rows)
    within = effective if heat.within is None else heat.within
    start, stop, _ = _bars(heat)
    scale = (stop - start) / heat.bars_end
    source = ColumnDataSource(
        {
            "row": list(range(rows)),
            "y": np.arange(rows) + 0.5,
            "left": np.full(rows, start),
            "right": start + effective * scale,
            "tick": start + within * scale,
            "effective": effective,
            "within": within,
            "label": [f"{number:.1f}" for number in effective],
        }
    )
    lookups(source, row_name={"by": "row", "of": list(heat.rows)})
    bars = plot.hbar(y="y", left="left", right="right", height=0.52, source=source)
    themed(bars.glyph, fill_color="--bar", line_color="--bar")
    lines = ["<b>@row_name</b>", "@effective{0.00} effective experts"]
    if heat.within is not None:
        width = len(heat.columns) * 0.003
        ticks = plot.rect("tick", "y", width, 0.72, source=source, line_color=None)
        themed(ticks.glyph, fill_color="--ink")
        lines.append(f"@within{{0.00}} within one {heat.unit}")
    if _row_height(heat) > 11:
        size = "12px" if _row_height(heat) > 20 else "9px"
        text = write(plot, source, "right", "label", size, x_offset=5)
        themed(text.glyph, text_color="--quiet")
    hover(plot, [bars], lines)


def _draw_tree(plot: figure, heat: HeatMap) -> None:
    """Draws the dendrogram: rows that join near the cells have similar weights."""
    count = len(heat.columns)
    start, room = count * _TREE[0], count * (_TREE[1] - _TREE[0])
    xs = [[start + room * part for part in x] for x, _ in heat.branches]
    ys = [y for _, y in heat.branches]
    lines = plot.multi_line(xs, ys, line_width=1.5 if len(heat.rows) <= 48 else 1, name="tree")
    themed(lines.glyph, line_color="--quiet")
