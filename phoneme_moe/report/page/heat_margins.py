"""Beside the rows of a heat map: how many experts are in effect, and which rows are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource

from phoneme_moe.report.page.heat_map import TREE, HeatMap
from phoneme_moe.report.page.plots import FONT, hover, lookups, themed


def draw_bars(plot: Any, what: HeatMap) -> None:
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


def draw_tree(plot: Any, what: HeatMap) -> None:
    """The dendrogram: rows joined early, near the cells, are alike."""
    assert what.tree is not None
    count, leaves = len(what.columns), len(what.rows)
    start, room = count * TREE[0], count * (TREE[1] - TREE[0])
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
