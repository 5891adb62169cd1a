"""A heat map on paper: cells, names, a tree and bars on the right, a legend below.

Legend: R rows, E columns. All lengths are in points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from phoneme_moe.report.number_format import percent
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.palette import from_hex, hex_colour, ink, ramp_colours, shade
from phoneme_moe.report.paper.sheet import MARGIN, Box, Key, Sheet, colour_of, legend_rows
from phoneme_moe.report.paper.style import PaperStyle

_TALLEST = 640.0
"""Greatest height of a figure, of very many rows: it fits on a page of A4 or Letter (226 mm)."""
_ROW, _LOW_ROW, _LEAST_ROW = 1.75, 1.4, 1.2
"""Height of a row in font sizes: of few with numbers, of others, and the least for names at all."""
_FEW_ROWS = 20
_TREE, _BARS = 2.5, 3.0
"""Widths of the tree and of the longest bar, in font sizes."""


@dataclass(frozen=True)
class _Layout:
    """Where the parts are.

    Attributes:
        cells: The cells.
        row_names: Names of the R rows as they fit.
        column_names: Names of the E columns as they fit.
        each_row: A name stands at every row, or every second, third ...
        each_column: The same for columns.
        upright: Whether column names are written upwards.
        numbered: Whether there are numbers in the cells.
        legend: Rows of the legend.
    """

    cells: Box
    row_names: list[str]
    column_names: list[str]
    each_row: int
    each_column: int
    upright: bool
    numbered: bool
    legend: list[list[Key]]


def draw_heat_map(heat: HeatMap, style: PaperStyle) -> Sheet:
    """Draws a heat map, with a name at every row and column for which there is room.

    Args:
        heat: The heat map.
        style: Width and font size.
    """
    layout = _layout(heat, style)
    sheet = Sheet(style, layout.cells.bottom + _legend_height(layout.legend, style))
    _draw_names(sheet, layout)
    _draw_cells(sheet, heat, layout)
    if heat.effective is not None:
        _draw_tree_and_bars(sheet, heat, layout.cells)
    sheet.legend(layout.legend, MARGIN, layout.cells.bottom + 0.4 * style.line)
    return sheet


def _layout(heat: HeatMap, style: PaperStyle) -> _Layout:
    em = style.font_size
    num_rows, num_columns = heat.weights.shape
    row_names = [style.fitted(name, 0.3 * style.width) for name in heat.rows]
    left = MARGIN + style.widest(row_names) + 0.5 * em
    cells_width = style.width - left - _beside(heat, style) - MARGIN
    column = cells_width / num_columns
    numbers = style.widest([_number(weight) for weight in heat.weights.flat])
    wide = numbers + 0.3 * em <= column
    column_names = [style.fitted(name, 9 * em) for name in heat.columns]
    widest = style.widest(column_names)
    # Every how many columns a name has room, side by side or upright.
    across, upright = math.ceil((widest + 0.4 * em) / column), math.ceil(1.2 * em / column)
    is_upright = upright < across
    top = MARGIN + (widest + 0.6 * em if is_upright else style.line)
    legend = legend_rows(_keys(heat), style, style.width - 2 * MARGIN)
    room = _TALLEST - top - _legend_height(legend, style)
    row = min(em * (_ROW if wide and num_rows <= _FEW_ROWS else _LOW_ROW), room / num_rows)
    return _Layout(
        cells=Box(left, top, cells_width, row * num_rows),
        row_names=row_names,
        column_names=column_names,
        each_row=math.ceil(_LEAST_ROW * em / row - 1e-9),
        each_column=min(across, upright),
        upright=is_upright,
        numbered=wide and row >= _LEAST_ROW * em,
        legend=legend,
    )


def _legend_height(legend: list[list[Key]], style: PaperStyle) -> float:
    """Height of the legend with the room above and below it."""
    return style.line * (len(legend) + 0.4) + MARGIN


def _beside(heat: HeatMap, style: PaperStyle) -> float:
    """Width of tree and bars."""
    if heat.effective is None:
        return 0.0
    em = style.font_size
    values = style.widest([f"{value:.1f}" for value in heat.effective])
    tree = (_TREE + 0.4) * em if heat.branches else 0.0
    return 0.4 * em + tree + _BARS * em + 0.3 * em + values


def _keys(heat: HeatMap) -> list[Key]:
    keys = [Key("scale", "", f"{percent(heat.top)} {heat.measure}")]
    if any(column is not None for column in heat.outlined):
        keys.append(Key("outline", "--outline", heat.outline))
    if heat.effective is not None:
        keys.append(Key("box", "--bar", f"effective number of {heat.kinds[1]}s"))
        if heat.within is not None:
            keys.append(Key("tick", "--ink", f"within one {heat.unit}"))
    return keys


def _number(weight: float) -> str:
    """A weight in whole per cent, rounded as on the page; nothing for NaN."""
    return "" if np.isnan(weight) else f"{math.floor(100 * weight + 0.5)}"


def _draw_names(sheet: Sheet, layout: _Layout) -> None:
    style, cells = sheet.style, layout.cells
    em = style.font_size
    row, column = cells.height / len(layout.row_names), cells.width / len(layout.column_names)
    for i, name in enumerate(layout.row_names):
        if i % layout.each_row == 0:
            y = cells.top + (i + 0.5) * row
            sheet.text(cells.left - 0.5 * em, y, name, ha="right")
            if layout.each_row > 1:
                sheet.line([cells.left - 0.35 * em, cells.left], [y, y], "--quiet", 0.4)
    for i, name in enumerate(layout.column_names):
        if i % layout.each_column == 0:
            x = cells.left + (i + 0.5) * column
            if layout.upright:
                # The middle of the letters on the middle of the column.
                sheet.text(x, cells.top - 0.4 * em, name, rotation=90, ha="center", va="bottom")
            else:
                sheet.text(x, cells.top - 0.55 * style.line, name, ha="center")
            if layout.each_column > 1:
                sheet.line([x, x], [cells.top - 0.3 * em, cells.top], "--quiet", 0.4)


def _draw_cells(sheet: Sheet, heat: HeatMap, layout: _Layout) -> None:
    """Draws the cells with numbers and outlines."""
    num_rows, num_columns = heat.weights.shape
    box, em = layout.cells, sheet.style.font_size
    axes = sheet.axes(box, (0, num_columns), (num_rows, 0))
    colours = ramp_colours("light")
    shades = np.ma.masked_invalid(heat.weights)
    steps = np.ma.array(np.vectorize(shade)(shades.filled(0), heat.top), mask=shades.mask)
    column, row = box.width / num_columns, box.height / num_rows
    small = min(column, row) < 0.6 * em
    axes.pcolormesh(
        np.arange(num_columns + 1),
        np.arange(num_rows + 1),
        steps,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=100.5,
        # Edges of their own colour leave no gaps between small cells.
        edgecolors="face" if small else colour_of("--line"),
        linewidth=0.1 if small else 0.5,
        clip_on=False,
    )
    for i, outlined in enumerate(heat.outlined):
        if outlined is not None:
            axes.add_patch(
                Rectangle(
                    (outlined, i),
                    1,
                    1,
                    fill=False,
                    edgecolor=colour_of("--outline"),
                    linewidth=float(np.clip(0.12 * min(column, row), 0.4, 0.16 * em)),
                    clip_on=False,
                )
            )
    if layout.numbered:
        for (i, j), weight in np.ndenumerate(heat.weights):
            text = _number(weight)
            background = from_hex(colours[int(steps[i, j])]) if text else (1.0, 1.0, 1.0)
            colour = "--strong-line" if text == "0" else hex_colour(ink(background))
            x, y = box.left + (j + 0.5) * column, box.top + (i + 0.5) * row
            if text:
                sheet.text(x, y, text, colour, ha="center")


def _draw_tree_and_bars(sheet: Sheet, heat: HeatMap, cells: Box) -> None:
    """Draws the dendrogram and the effective number of experts of each row."""
    assert heat.effective is not None
    em, count = sheet.style.font_size, len(heat.rows)
    row = cells.height / count
    x = cells.right + 0.4 * em
    if heat.branches:
        tree = sheet.axes(Box(x, cells.top, _TREE * em, cells.height), (0, 1), (count, 0))
        for xs, ys in heat.branches:
            tree.plot(xs, ys, color=colour_of("--quiet"), linewidth=min(0.8, 0.2 * row))
        x += (_TREE + 0.4) * em
    place = Box(x, cells.top, _BARS * em, cells.height)
    bars = sheet.axes(place, (0, heat.bars_end), (count, 0))
    y = np.arange(count) + 0.5
    bars.barh(y, heat.effective, height=0.52, color=colour_of("--bar"))
    if heat.within is not None:
        width = min(1.2, 0.3 * row)
        bars.vlines(heat.within, y - 0.36, y + 0.36, color=colour_of("--ink"), linewidth=width)
    if row >= _LEAST_ROW * em:
        for i, value in enumerate(heat.effective):
            end = x + value / heat.bars_end * place.width + 0.3 * em
            sheet.text(end, cells.top + (i + 0.5) * row, f"{value:.1f}", "--quiet")
