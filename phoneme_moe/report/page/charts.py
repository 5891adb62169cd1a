"""Charts of the routing report: by expert, by speaker and over epochs.

Legend: R rows of a chart, L layers, N points of training, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker
from bokeh.plotting import figure
from numpy.typing import ArrayLike, NDArray

from phoneme_moe.report.page.parts import Drawing
from phoneme_moe.report.page.plots import (
    drawing,
    frame,
    hover,
    labels_apart,
    names_axis,
    plain,
    themed,
    write,
)

#: Maximum number of rows of a chart with one row per expert.
MOST_ROWS = 24


def most_used(*weights: NDArray[np.float64]) -> list[int]:
    """Indices of the experts with the greatest weights, at most ``MOST_ROWS``, in order."""
    greatest = np.max(weights, axis=0)
    return sorted(np.argsort(-greatest, kind="stable")[:MOST_ROWS].tolist())


def _rows(
    names: Sequence[str], low: float, high: float, label: str, each: int = 22, rest: int = 58
) -> tuple[figure, NDArray[np.floating]]:
    """An empty chart of named rows, the first at the top, and the centres of the rows."""
    count = len(names)
    plot = frame(each * count + rest, (low, high), (count, 0), x_label=label, grid="x")
    names_axis(plot, names)
    return plot, np.arange(count) + 0.5


def _dots(plot: figure, x: str, source: ColumnDataSource, fill: str, line: str) -> Any:
    """Filled dots, or hollow ones if filled with the background colour."""
    dots = plot.scatter(x, "y", source=source, size=10, line_width=2)
    themed(dots.glyph, fill_color=fill, line_color=line)
    return dots


def dumbbells(
    names: Sequence[str],
    first: ArrayLike,
    second: ArrayLike,
    labels: tuple[str, str],
    axis: str,
) -> Drawing:
    """Two values per row as two dots with a line between them, in per cent.

    Args:
        names: Names of the R rows, the first at the top.
        first: Shares of the hollow dots, 0..1, shape (rows,).
        second: Shares of the filled dots, 0..1, shape (rows,).
        labels: Names of the two values.
        axis: Label of the horizontal axis.
    """
    left, right = np.asarray(first, dtype=float) * 100, np.asarray(second, dtype=float) * 100
    high = max(1.0, float(max(left.max(), right.max())) * 1.06)
    plot, y = _rows(names, 0, high, axis)
    data = {"y": y, "first": left, "second": right, "name": list(names)}
    data |= {"first_label": [labels[0]] * len(y), "second_label": [labels[1]] * len(y)}
    source = ColumnDataSource(data)
    line = plot.segment("first", "y", "second", "y", source=source, line_width=2)
    themed(line.glyph, line_color="--bar")
    hollow = _dots(plot, "first", source, "--paper", "--first")
    full = _dots(plot, "second", source, "--second", "--second")
    lines = ["<b>@name</b>", "@first_label @first{0.0} %", "@second_label @second{0.0} %"]
    hover(plot, [hollow, full], lines)
    return drawing(plot)


def changes(names: Sequence[str], change: ArrayLike, intervals: ArrayLike) -> Drawing:
    """Changes of the error rate without each expert in percentage points, with a line at 0.

    Args:
        names: Names of the rows.
        change: Changes as fractions, shape (rows,).
        intervals: Intervals as fractions, shape (rows, 2).
    """
    points = np.asarray(change, dtype=float) * 100
    ends = np.asarray(intervals, dtype=float).reshape(-1, 2) * 100
    low, high = min(0.0, float(ends.min())), max(0.0, float(ends.max()))
    margin = 0.06 * (high - low or 1.0)
    label = "change of the error rate, points"
    plot, y = _rows(names, low - margin, high + margin, label)
    source = ColumnDataSource(
        {"y": y, "value": points, "low": ends[:, 0], "high": ends[:, 1], "name": list(names)}
    )
    zero = plot.segment([0], [0], [0], [len(y)])
    themed(zero.glyph, line_color="--strong-line")
    whisker = plot.segment("low", "y", "high", "y", source=source, line_width=2)
    themed(whisker.glyph, line_color="--quiet")
    dots = _dots(plot, "value", source, "--paper", "--second")
    sure = (ends[:, 0] > 0) | (ends[:, 1] < 0)
    filled = ColumnDataSource({"y": y[sure], "value": points[sure]})
    _dots(plot, "value", filled, "--second", "--second")
    interval = "@low{+0.0} to @high{+0.0}"
    hover(plot, [dots], ["<b>without @name</b>", "@value{+0.0} points", interval])
    return drawing(plot)


def bits(names: Sequence[str], measured: ArrayLike, chance: ArrayLike) -> Drawing:
    """Information in bits: bar beyond chance, ring as measured, tick at chance."""
    ring, tick = np.asarray(measured, dtype=float), np.asarray(chance, dtype=float)
    corrected = ring - tick
    low = min(0.0, float(corrected.min()))
    high = max(float(ring.max()), float(tick.max()), 1e-3) * 1.08
    plot, y = _rows(names, low * 1.1, high, "bits", 34, 52)
    data = {"y": y, "value": ring, "chance": tick, "corrected": corrected, "name": list(names)}
    source = ColumnDataSource(data | {"top": y - 0.34, "bottom": y + 0.34})
    bar = plot.hbar(y="y", left=0, right="corrected", height=0.5, source=source)
    themed(bar.glyph, fill_color="--second", line_color="--second")
    line = plot.segment("chance", "top", "chance", "bottom", source=source, line_width=2)
    themed(line.glyph, line_color="--first")
    dot = _dots(plot, "value", source, "--paper", "--ink")
    both = "measured @value{0.000}, chance @chance{0.000}"
    hover(plot, [bar, dot], ["<b>@name</b>", "beyond chance @corrected{0.000} bits", both])
    return drawing(plot)


def mixing_scatter(
    names: Sequence[str],
    effective: ArrayLike,
    mixing: Sequence[float | None],
    num_experts: int,
    unit: str,
) -> Drawing:
    """A dot per speaker: effective number of experts (x), share of mixing within a frame (y)."""
    across = np.asarray(effective, dtype=float)
    upwards = np.array([np.nan if share is None else 100 * share for share in mixing])
    few = len(names) <= 14
    end = min(float(num_experts), max(2.0, float(across.max()) * 1.15)) + (0.25 if few else 0.05)
    plot = frame(
        340,
        (0.9, end),
        (-6, 106),
        x_label="effective number of experts",
        y_label=f"mixing within a {unit}, %",
        grid="both",
    )
    label = [f" {plain(name, 14)}" for name in names]
    # In pixels of a narrow screen, where labels are nearest.
    lower = labels_apart(across / (end - 0.9) * 300, -upwards / 112 * 280) if few else 0 * across
    source = ColumnDataSource(
        {"x": across, "y": upwards, "name": list(names), "label": label, "lower": lower}
    )
    dots = plot.scatter("x", "y", source=source, size=10 if few else 8, fill_alpha=0.75)
    themed(dots.glyph, fill_color="--second", line_color="--paper")
    if few:
        text = write(plot, source, "x", "label", "12px", x_offset=7, y_offset="lower")
        themed(text.glyph, text_color="--ink")
    ends: dict[str, Any] = {"x": [end] * 2, "y": [100, 0]}
    ends["label"] = [f"mixes within a {unit}", f"switches between {unit}s"]
    notes = write(plot, ColumnDataSource(ends), "x", "label", "11px", text_align="right")
    themed(notes.glyph, text_color="--quiet")
    lines = ["<b>@name</b>", "@x{0.00} effective experts", f"@y{{0}} % mixing within a {unit}"]
    hover(plot, [dots], lines)
    return drawing(plot)


def curves(
    names: Sequence[str],
    epochs: Sequence[object],
    values: Sequence[Sequence[float | None]],
    label: str,
    colours: Sequence[str],
    top: float | None = None,
) -> Drawing:
    """One line per layer over the epochs.

    Args:
        names: Names of the L layers.
        epochs: Labels of the points, shape (points,).
        values: Values of every layer, shape (layers, points); None leaves a gap.
        label: Label of the vertical axis.
        colours: CSS colours of the lines.
        top: Upper end of the axis; by default the greatest value.
    """
    rows = [np.array([np.nan if v is None else v for v in row], dtype=float) for row in values]
    highest = max((float(np.nanmax(row)) for row in rows if not np.isnan(row).all()), default=1.0)
    end = max(top or 0.0, highest * 1.08) or 1.0
    plot = frame(230, _span(epochs), (0, end), x_label="epoch", y_label=label, grid="y")
    dots = []
    for name, row, colour in zip(names, rows, colours, strict=True):
        data = {"x": list(range(len(row))), "y": row, "name": [name] * len(row)}
        source = ColumnDataSource(data | {"epoch": [str(epoch) for epoch in epochs]})
        plot.line("x", "y", source=source, line_width=2, line_color=colour)
        dots.append(plot.scatter("x", "y", source=source, size=5, color=colour))
    _epochs_axis(plot, epochs)
    hover(plot, dots, ["<b>@name</b>", "@epoch: @y{0.00}"])
    return drawing(plot)


def stack(
    names: Sequence[str], epochs: Sequence[object], shares: ArrayLike, colours: Sequence[str]
) -> Drawing:
    """The load of every expert over the epochs, stacked up to 100 %.

    Args:
        names: Names of the E experts.
        epochs: Labels of the points, shape (points,).
        shares: Loads, shape (points, experts); rows sum to 1, or are NaN for a gap.
        colours: CSS colours of the experts.
    """
    share = np.asarray(shares, dtype=float)
    edges = np.pad(100 * share.cumsum(axis=1), ((0, 0), (1, 0))).astype(np.float32)
    plot = frame(230, _span(epochs), (0, 100), y_label="load, %", x_label="epoch")
    data: dict[str, Any] = {
        "x": list(range(len(share))),
        "epoch": [str(epoch) for epoch in epochs],
        "edge0": edges[:, 0].copy(),
        "middle": np.full(len(share), 50.0),
    }
    lines = ["<b>@epoch</b>"]
    shown = np.argsort(-np.nanmean(share, axis=0), kind="stable")[:12]
    for i, name in enumerate(names):
        data[f"edge{i + 1}"] = edges[:, i + 1].copy()
        if i in shown:
            data[f"share{i}"] = (100 * share[:, i]).astype(np.float32)
            data[f"name{i}"] = [name] * len(share)
            lines.append(f"@name{i} @share{i}{{0.0}} %")
    source = ColumnDataSource(data)
    for i, colour in enumerate(colours):
        plot.varea("x", f"edge{i}", f"edge{i + 1}", source=source, fill_color=colour)
    _epochs_axis(plot, epochs)
    points = plot.line("x", "middle", source=source, line_alpha=0)
    hover(plot, [points], lines, mode="vline", line_policy="nearest")
    return drawing(plot)


def _span(epochs: Sequence[object]) -> tuple[float, float]:
    """First and last point, with a margin around a single one."""
    return (0.0, float(len(epochs) - 1)) if len(epochs) > 1 else (-0.5, 0.5)


def _epochs_axis(plot: figure, epochs: Sequence[object]) -> None:
    """Labels at most four epochs on the axis."""
    shown = range(0, len(epochs), -(-len(epochs) // 4))
    plot.xaxis[0].ticker = FixedTicker(ticks=list(shown))
    plot.xaxis[0].major_label_overrides = {i: plain(str(epochs[i]), 12) for i in shown}
