"""The charts by expert, by speaker and over epochs on paper.

Legend: R rows of a chart. All lengths are in points.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
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
from phoneme_moe.report.paper.sheet import (
    BELOW_AXIS,
    MARGIN,
    Box,
    Key,
    Sheet,
    colour_of,
    dots,
    even_marks,
    legend_rows,
)
from phoneme_moe.report.paper.style import PaperStyle

_ROW, _TALL_ROW = 1.6, 2.0
"""Heights of rows in font sizes."""


def _named_rows(
    chart: Dumbbells | Changes | Bits, style: PaperStyle, keys: Sequence[Key], each: float = _ROW
) -> tuple[Sheet, Axes, NDArray[np.floating]]:
    """An empty chart of named rows with its legend, and the centres of the rows."""
    em, count = style.font_size, len(chart.names)
    names = [style.fitted(name, 0.42 * style.width) for name in chart.names]
    left = MARGIN + style.widest(names) + 0.6 * em
    legend = legend_rows(keys, style, style.width - 2 * MARGIN)
    top = MARGIN + style.line * (len(legend) + (0.3 if legend else 0))
    box = Box(left, top, style.width - left - 0.8 * em, each * em * count)
    sheet = Sheet(style, box.bottom + BELOW_AXIS * style.line)
    sheet.legend(legend, MARGIN, MARGIN)
    sheet.x_axis(box, chart.limits, chart.axis)
    centres = np.arange(count) + 0.5
    for name, centre in zip(names, centres, strict=True):
        sheet.text(left - 0.6 * em, box.top + centre * each * em, name, ha="right")
    return sheet, sheet.axes(box, chart.limits, (count, 0)), centres


def draw_dumbbells(chart: Dumbbells, style: PaperStyle) -> Sheet:
    """Draws two values per row, with a line between them."""
    em, (first, second) = style.font_size, chart.labels
    keys = [Key("ring", "--first", first), Key("dot", "--second", second)]
    sheet, axes, y = _named_rows(chart, style, keys)
    axes.hlines(y, chart.first, chart.second, color=colour_of("--bar"), linewidth=0.16 * em)
    axes.plot(chart.first, y, clip_on=False, **dots(em, "--first", "--paper"))
    axes.plot(chart.second, y, clip_on=False, **dots(em, "--second", "--second"))
    return sheet


def draw_changes(chart: Changes, style: PaperStyle) -> Sheet:
    """Draws changes with their intervals, and a line at 0."""
    em, sure = style.font_size, chart.significant
    sheet, axes, y = _named_rows(chart, style, [])
    axes.axvline(0, color=colour_of("--strong-line"), linewidth=0.8)
    low, high = chart.intervals.T
    axes.hlines(y, low, high, color=colour_of("--quiet"), linewidth=0.16 * em)
    axes.plot(chart.change[~sure], y[~sure], **dots(em, "--second", "--paper"))
    axes.plot(chart.change[sure], y[sure], **dots(em, "--second", "--second"))
    return sheet


def draw_bits(chart: Bits, style: PaperStyle) -> Sheet:
    """Draws information in bits: bar beyond chance, ring as measured, tick at chance."""
    em = style.font_size
    keys = [
        Key("box", "--second", "beyond chance"),
        Key("ring", "--ink", "measured"),
        Key("tick", "--first", "chance"),
    ]
    sheet, axes, y = _named_rows(chart, style, keys, _TALL_ROW)
    axes.barh(y, chart.corrected, height=0.5, color=colour_of("--second"))
    colour = colour_of("--first")
    axes.vlines(chart.chance, y - 0.34, y + 0.34, color=colour, linewidth=0.16 * em)
    axes.plot(chart.measured, y, clip_on=False, **dots(em, "--ink", "--paper"))
    return sheet


def _plane(
    style: PaperStyle,
    keys: Sequence[Key],
    height: float,
    limits: tuple[tuple[float, float], tuple[float, float]],
    label: str,
    marks: Sequence[tuple[float, str]],
    grid: bool = True,
) -> tuple[Sheet, Box, Axes]:
    """A chart of two axes with its legend, still without marks on the horizontal axis.

    Args:
        style: Width and font size.
        keys: Entries of the legend.
        height: Height between the axes' ends.
        limits: Ends of the horizontal and of the vertical axis.
        label: Label of the vertical axis.
        marks: Places and texts on it.
        grid: Whether there are lines at them.
    """
    em = style.font_size
    left = MARGIN + 1.4 * em + style.widest([text for _, text in marks]) + 0.4 * em
    legend = legend_rows(keys, style, style.width - 2 * MARGIN)
    top = MARGIN + 0.5 * style.line + style.line * len(legend)
    box = Box(left, top, style.width - left - 0.8 * em, height)
    sheet = Sheet(style, box.bottom + BELOW_AXIS * style.line)
    sheet.legend(legend, MARGIN, MARGIN)
    sheet.y_axis(box, limits[1], marks, label, grid=grid)
    return sheet, box, sheet.axes(box, *limits)


def draw_mixing(chart: MixingScatter, style: PaperStyle) -> Sheet:
    """Draws a dot per speaker, with its name if there is room."""
    em = style.font_size
    height = min(0.75 * style.width, 30 * em)
    limits = (chart.x_limits, chart.y_limits)
    marks = [(float(share), str(share)) for share in (0, 25, 50, 75, 100)]
    sheet, box, axes = _plane(style, [], height, limits, chart.y_axis, marks)
    sheet.x_axis(box, chart.x_limits, chart.x_axis)
    size = 0.7 if chart.named else 0.55
    look = dots(em, "--paper", "--second", size) | {"alpha": 0.85, "markeredgewidth": 0.06 * em}
    axes.plot(chart.effective, chart.mixing, clip_on=False, **look)
    if chart.named:
        _draw_names(sheet, chart, box)
    return sheet


def _draw_names(sheet: Sheet, chart: MixingScatter, box: Box) -> None:
    """Writes the names of speakers beside their dots, none over another."""
    style = sheet.style
    em = style.font_size
    names = [style.fitted(name, 0.3 * style.width) for name in chart.names]
    (low, high), (bottom, top) = chart.x_limits, chart.y_limits
    x = box.left + (chart.effective - low) / (high - low) * box.width
    y = box.bottom - (chart.mixing - bottom) / (top - bottom) * box.height
    # Left of the dot where there is no room on its right.
    widths = np.array([style.text_width(name) for name in names])
    starts = np.where(
        x + 0.6 * em + widths > style.width - MARGIN, x - 0.6 * em - widths, x + 0.6 * em
    )
    size = (float(widths.max()) + 0.5 * em, 1.1 * em)
    moved = labels_apart(starts, y, size)
    if np.nanmax(y + moved, initial=0.0) > box.bottom:
        moved = -labels_apart(starts, -y, size)
    for name, start, centre, move in zip(names, starts, y, moved, strict=True):
        if not np.isnan(centre):
            sheet.text(float(start), float(centre + move), name)


def _chart_height(style: PaperStyle) -> float:
    """Height of a chart over epochs."""
    return float(np.clip(0.42 * style.width, 10 * style.font_size, 20 * style.font_size))


def draw_curves(chart: Curves, style: PaperStyle, keys: Sequence[Key]) -> Sheet:
    """Draws a line per layer over the epochs.

    Args:
        chart: The chart.
        style: Width and font size.
        keys: Entries of the legend.
    """
    em = style.font_size
    limits = (epochs_span(chart.epochs), (0.0, chart.top))
    whole = bool(np.nanmax(np.abs(chart.values % 1), initial=0.0) == 0)
    marks = even_marks(limits[1], 5, whole)
    height = _chart_height(style)
    sheet, box, axes = _plane(style, keys, height, limits, chart.axis, marks)
    x = np.arange(len(chart.epochs))
    for values, colour in zip(chart.values, chart.colours, strict=True):
        axes.plot(x, values, color=colour, linewidth=0.14 * em, clip_on=False)
        axes.plot(x, values, clip_on=False, **dots(em, colour, colour, 0.2))
    _epochs_axis(sheet, box, chart.epochs)
    return sheet


def draw_stack(chart: Stack, style: PaperStyle, keys: Sequence[Key]) -> Sheet:
    """Draws the load of every expert over the epochs, stacked up to 100 %.

    Args:
        chart: The chart.
        style: Width and font size.
        keys: Entries of the legend.
    """
    limits = (epochs_span(chart.epochs), (0.0, 100.0))
    marks = [(float(share), str(share)) for share in (0, 25, 50, 75, 100)]
    height = _chart_height(style)
    sheet, box, axes = _plane(style, keys, height, limits, chart.axis, marks, grid=False)
    x = np.arange(len(chart.epochs))
    for (low, high), colour in zip(pairwise(chart.edges.T), chart.colours, strict=True):
        axes.fill_between(x, low, high, color=colour, linewidth=0)
    _epochs_axis(sheet, box, chart.epochs)
    return sheet


def _epochs_axis(sheet: Sheet, box: Box, epochs: Sequence[str]) -> None:
    """Labels as many epochs as there is room for, at most four."""
    style = sheet.style
    names = [style.fitted(epoch, 9 * style.font_size) for epoch in epochs]
    most = int(box.width / (style.widest(names) + style.font_size))
    shown = epochs_shown(epochs, max(1, min(4, most)))
    sheet.x_marks(box, epochs_span(epochs), [(i, names[i]) for i in shown], "epoch")
