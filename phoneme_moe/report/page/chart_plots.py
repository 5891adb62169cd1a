"""Bokeh plots of the charts of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker
from bokeh.plotting import figure
from numpy.typing import NDArray

from phoneme_moe.report.page.charts import (
    Bits,
    Changes,
    Curves,
    Dumbbells,
    MixingScatter,
    Stack,
    epochs_shown,
    epochs_span,
    labels_apart,
)
from phoneme_moe.report.page.plots import (
    Drawing,
    drawing,
    frame,
    hover,
    names_axis,
    plain,
    themed,
    write,
)

#: Width and height in pixels that a label of 14 characters takes.
_LABEL_SIZE = 90.0, 14.0


def _rows(
    names: Sequence[str], limits: tuple[float, float], label: str, each: int = 22, rest: int = 58
) -> tuple[figure, NDArray[np.floating]]:
    """An empty chart of named rows, the first at the top, and the centres of the rows."""
    count = len(names)
    plot = frame(each * count + rest, limits, (count, 0), x_label=label, grid="x")
    names_axis(plot, names)
    return plot, np.arange(count) + 0.5


def _dots(plot: figure, x: str, source: ColumnDataSource, fill: str, line: str) -> Any:
    """Filled dots, or hollow ones if filled with the background colour."""
    dots = plot.scatter(x, "y", source=source, size=10, line_width=2)
    themed(dots.glyph, fill_color=fill, line_color=line)
    return dots


def draw_dumbbells(chart: Dumbbells) -> Drawing:
    """Draws two values per row, with a line between them."""
    plot, y = _rows(chart.names, chart.limits, chart.axis)
    data = {"y": y, "first": chart.first, "second": chart.second, "name": list(chart.names)}
    data |= {"first_label": [chart.labels[0]] * len(y), "second_label": [chart.labels[1]] * len(y)}
    source = ColumnDataSource(data)
    line = plot.segment("first", "y", "second", "y", source=source, line_width=2)
    themed(line.glyph, line_color="--bar")
    hollow = _dots(plot, "first", source, "--paper", "--first")
    full = _dots(plot, "second", source, "--second", "--second")
    lines = ["<b>@name</b>", "@first_label @first{0.0} %", "@second_label @second{0.0} %"]
    hover(plot, [hollow, full], lines)
    return drawing(plot)


def draw_changes(chart: Changes) -> Drawing:
    """Draws changes with their intervals, and a line at 0."""
    plot, y = _rows(chart.names, chart.limits, chart.axis)
    low, high = chart.intervals.T
    source = ColumnDataSource(
        {"y": y, "value": chart.change, "low": low, "high": high, "name": list(chart.names)}
    )
    zero = plot.segment([0], [0], [0], [len(y)])
    themed(zero.glyph, line_color="--strong-line")
    whisker = plot.segment("low", "y", "high", "y", source=source, line_width=2)
    themed(whisker.glyph, line_color="--quiet")
    dots = _dots(plot, "value", source, "--paper", "--second")
    sure = chart.significant
    filled = ColumnDataSource({"y": y[sure], "value": chart.change[sure]})
    _dots(plot, "value", filled, "--second", "--second")
    interval = "@low{+0.0} to @high{+0.0}"
    hover(plot, [dots], ["<b>without @name</b>", "@value{+0.0} points", interval])
    return drawing(plot)


def draw_bits(chart: Bits) -> Drawing:
    """Draws information in bits: bar beyond chance, ring as measured, tick at chance."""
    plot, y = _rows(chart.names, chart.limits, chart.axis, 34, 52)
    data: dict[str, Any] = {
        "y": y,
        "value": chart.measured,
        "chance": chart.chance,
        "corrected": chart.corrected,
    }
    data |= {"name": list(chart.names), "top": y - 0.34, "bottom": y + 0.34}
    source = ColumnDataSource(data)
    bar = plot.hbar(y="y", left=0, right="corrected", height=0.5, source=source)
    themed(bar.glyph, fill_color="--second", line_color="--second")
    line = plot.segment("chance", "top", "chance", "bottom", source=source, line_width=2)
    themed(line.glyph, line_color="--first")
    dot = _dots(plot, "value", source, "--paper", "--ink")
    both = "measured @value{0.000}, chance @chance{0.000}"
    hover(plot, [bar, dot], ["<b>@name</b>", "beyond chance @corrected{0.000} bits", both])
    return drawing(plot)


def draw_mixing(chart: MixingScatter) -> Drawing:
    """Draws a dot per speaker, with its name if there is room."""
    x, y, unit = chart.effective, chart.mixing, chart.unit
    start, end = chart.x_limits
    plot = frame(
        340, (start, end), chart.y_limits, x_label=chart.x_axis, y_label=chart.y_axis, grid="both"
    )
    label = [f" {plain(name, 14)}" for name in chart.names]
    # In pixels of a narrow screen, where labels are nearest.
    across, down = x / (end - start) * 300, -y / 112 * 280
    lower = labels_apart(across, down, _LABEL_SIZE) if chart.named else 0 * x
    source = ColumnDataSource(
        {"x": x, "y": y, "name": list(chart.names), "label": label, "lower": lower}
    )
    size = 10 if chart.named else 8
    dots = plot.scatter("x", "y", source=source, size=size, fill_alpha=0.75)
    themed(dots.glyph, fill_color="--second", line_color="--paper")
    if chart.named:
        text = write(plot, source, "x", "label", "12px", x_offset=7, y_offset="lower")
        themed(text.glyph, text_color="--ink")
    ends: dict[str, Any] = {"x": [end] * 2, "y": [100, 0]}
    ends["label"] = [f"mixes within a {unit}", f"switches between {unit}s"]
    notes = write(plot, ColumnDataSource(ends), "x", "label", "11px", text_align="right")
    themed(notes.glyph, text_color="--quiet")
    lines = ["<b>@name</b>", "@x{0.00} effective experts", f"@y{{0}} % mixing within a {unit}"]
    hover(plot, [dots], lines)
    return drawing(plot)


def draw_curves(chart: Curves) -> Drawing:
    """Draws a line per layer over the epochs."""
    epochs = chart.epochs
    span, limits = epochs_span(epochs), (0, chart.top)
    plot = frame(230, span, limits, x_label="epoch", y_label=chart.axis, grid="y")
    dots = []
    for name, row, colour in zip(chart.names, chart.values, chart.colours, strict=True):
        data = {"x": list(range(len(row))), "y": row, "name": [name] * len(row)}
        source = ColumnDataSource(data | {"epoch": list(epochs)})
        plot.line("x", "y", source=source, line_width=2, line_color=colour)
        dots.append(plot.scatter("x", "y", source=source, size=5, color=colour))
    _epochs_axis(plot, epochs)
    hover(plot, dots, ["<b>@name</b>", "@epoch: @y{0.00}"])
    return drawing(plot)


def draw_stack(chart: Stack) -> Drawing:
    """Draws the load of every expert over the epochs, stacked up to 100 %."""
    share, edges = chart.shares, chart.edges
    span = epochs_span(chart.epochs)
    plot = frame(230, span, (0, 100), y_label=chart.axis, x_label="epoch")
    data: dict[str, Any] = {
        "x": list(range(len(share))),
        "epoch": list(chart.epochs),
        "edge0": edges[:, 0].copy(),
        "middle": np.full(len(share), 50.0),
    }
    lines = ["<b>@epoch</b>"]
    shown = np.argsort(-np.nanmean(share, axis=0), kind="stable")[:12]
    for i, name in enumerate(chart.names):
        data[f"edge{i + 1}"] = edges[:, i + 1].copy()
        if i in shown:
            data[f"share{i}"] = (100 * share[:, i]).astype(np.float32)
            data[f"name{i}"] = [name] * len(share)
            lines.append(f"@name{i} @share{i}{{0.0}} %")
    source = ColumnDataSource(data)
    for i, colour in enumerate(chart.colours):
        plot.varea("x", f"edge{i}", f"edge{i + 1}", source=source, fill_color=colour)
    _epochs_axis(plot, chart.epochs)
    points = plot.line("x", "middle", source=source, line_alpha=0)
    hover(plot, [points], lines, mode="vline", line_policy="nearest")
    return drawing(plot)


def _epochs_axis(plot: figure, epochs: Sequence[str]) -> None:
    """Labels at most four epochs on the axis."""
    shown = epochs_shown(epochs)
    plot.xaxis[0].ticker = FixedTicker(ticks=list(shown))
    plot.xaxis[0].major_label_overrides = {i: plain(epochs[i], 12) for i in shown}
