"""Small charts of the routing report: two values per row, changes, bits, blends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource
from numpy.typing import ArrayLike

from phoneme_moe.report.page.plots import (
    FONT,
    frame,
    hover,
    names_axis,
    plain,
    rows_height,
    themed,
    to_json,
)


def dumbbells(
    names: Sequence[str],
    first: ArrayLike,
    second: ArrayLike,
    labels: tuple[str, str],
    axis: str,
) -> dict[str, Any]:
    """Two values per row as two dots with a line between them, in per cent.

    Args:
        names: Of the R rows, the first on top.
        first: Shares in 0..1, shape (rows,): hollow dots.
        second: Shares in 0..1, shape (rows,): filled dots.
        labels: What first and second are.
        axis: Label of the horizontal axis.
    """
    one, two = np.asarray(first, dtype=float) * 100, np.asarray(second, dtype=float) * 100
    rows = len(names)
    plot = frame(
        rows_height(rows, 22, 58),
        (0, max(1.0, float(max(one.max(), two.max())) * 1.06)),
        (rows, 0),
        x_label=axis,
        grid="x",
    )
    names_axis(plot, names)
    y = np.arange(rows) + 0.5
    source = ColumnDataSource(
        {
            "y": y,
            "one": one,
            "two": two,
            "name": list(names),
            "one_is": [labels[0]] * rows,
            "two_is": [labels[1]] * rows,
        }
    )
    line = plot.segment("one", "y", "two", "y", source=source, line_width=2)
    hollow = plot.scatter("one", "y", source=source, size=10, line_width=2)
    full = plot.scatter("two", "y", source=source, size=10)
    themed(line.glyph, line_color="--bar")
    themed(hollow.glyph, fill_color="--paper", line_color="--first")
    themed(full.glyph, fill_color="--second", line_color="--second")
    hover(
        plot,
        [hollow, full],
        ["<b>@name</b>", "@one_is @one{0.0} %", "@two_is @two{0.0} %"],
    )
    return to_json(plot)


def changes(names: Sequence[str], change: ArrayLike, intervals: ArrayLike) -> dict[str, Any]:
    """Changes of the error rate with their intervals, in points of per cent, about a line at 0.

    Args:
        names: Of the rows.
        change: Parts of 1, shape (rows,).
        intervals: Parts of 1, shape (rows, 2).
    """
    points = np.asarray(change, dtype=float) * 100
    ends = np.asarray(intervals, dtype=float).reshape(-1, 2) * 100
    rows = len(names)
    low, high = min(0.0, float(ends.min())), max(0.0, float(ends.max()))
    margin = 0.06 * (high - low or 1.0)
    plot = frame(
        rows_height(rows, 22, 58),
        (low - margin, high + margin),
        (rows, 0),
        x_label="change of the error rate without the expert, points",
        grid="x",
    )
    names_axis(plot, names)
    y = np.arange(rows) + 0.5
    real = (ends[:, 0] > 0) | (ends[:, 1] < 0)
    source = ColumnDataSource(
        {"y": y, "value": points, "low": ends[:, 0], "high": ends[:, 1], "name": list(names)}
    )
    zero = plot.segment([0], [0], [0], [rows])
    themed(zero.glyph, line_color="--strong-line")
    whisker = plot.segment("low", "y", "high", "y", source=source, line_width=2)
    themed(whisker.glyph, line_color="--quiet")
    sure = ColumnDataSource({"y": y[real], "value": points[real]})
    dots = plot.scatter("value", "y", source=source, size=10, line_width=2)
    full = plot.scatter("value", "y", source=sure, size=10)
    themed(dots.glyph, fill_color="--paper", line_color="--second")
    themed(full.glyph, fill_color="--second", line_color="--second")
    hover(
        plot, [dots], ["<b>without @name</b>", "@value{+0.0} points", "@low{+0.0} to @high{+0.0}"]
    )
    return to_json(plot)


def bits(names: Sequence[str], measured: ArrayLike, chance: ArrayLike) -> dict[str, Any]:
    """Information in bits: the bar is what is left when chance is taken off, the tick is chance."""
    all_of, by_chance = np.asarray(measured, dtype=float), np.asarray(chance, dtype=float)
    rows = len(names)
    corrected = all_of - by_chance
    low = min(0.0, float(corrected.min()))
    top = max(float(all_of.max()), float(by_chance.max()), 1e-3) * 1.08
    plot = frame(rows_height(rows, 34, 52), (low * 1.1, top), (rows, 0), x_label="bits", grid="x")
    names_axis(plot, names)
    y = np.arange(rows) + 0.5
    source = ColumnDataSource(
        {
            "y": y,
            "value": all_of,
            "chance": by_chance,
            "corrected": corrected,
            "top": y - 0.34,
            "bottom": y + 0.34,
            "name": list(names),
        }
    )
    bar = plot.hbar(y="y", left=0, right="corrected", height=0.5, source=source)
    themed(bar.glyph, fill_color="--second", line_color="--second")
    tick = plot.segment("chance", "top", "chance", "bottom", source=source, line_width=2)
    themed(tick.glyph, line_color="--first")
    dot = plot.scatter("value", "y", source=source, size=9, line_width=2)
    themed(dot.glyph, fill_color="--paper", line_color="--ink")
    hover(
        plot,
        [bar, dot],
        [
            "<b>@name</b>",
            "beyond chance @corrected{0.000} bits",
            "measured @value{0.000}, by chance @chance{0.000}",
        ],
    )
    return to_json(plot)


def blends(
    names: Sequence[str], effective: ArrayLike, mixing: Sequence[float | None], experts: int
) -> dict[str, Any]:
    """How spread every speaker is (across) and how much of the spread is mixing (upwards)."""
    across = np.asarray(effective, dtype=float)
    upwards = np.array([np.nan if share is None else 100 * share for share in mixing])
    few = len(names) <= 14
    right = min(float(experts), max(2.0, float(across.max()) * 1.15)) + (0.25 if few else 0.05)
    plot = frame(
        340,
        (0.9, right),
        (-6, 106),
        x_label="experts in effect over all of a speaker’s speech",
        y_label="blend, % of the spread",
        grid="both",
    )
    source = ColumnDataSource(
        {
            "x": across,
            "y": upwards,
            "name": list(names),
            "label": [f" {plain(name, 14)}" for name in names],
        }
    )
    dots = plot.scatter("x", "y", source=source, size=10 if few else 8, fill_alpha=0.75)
    themed(dots.glyph, fill_color="--second", line_color="--paper")
    if few:
        text = plot.text(
            "x",
            "y",
            "label",
            source=source,
            text_font_size="12px",
            text_font=value(FONT),
            text_baseline="middle",
            x_offset=7,
        )
        themed(text.glyph, text_color="--ink")
    for share, words in ((100, "blends within a frame"), (0, "switches between frames")):
        note = plot.text(
            [right],
            [share],
            [words],
            text_font_size="11px",
            text_font=value(FONT),
            text_align="right",
            text_baseline="middle",
        )
        themed(note.glyph, text_color="--quiet")
    hover(
        plot,
        [dots],
        ["<b>@name</b>", "@x{0.00} experts in effect", "@y{0} % of the spread is a blend"],
    )
    return to_json(plot)
