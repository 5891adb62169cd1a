"""The sheet that a figure of a paper is drawn on, and the parts that several figures have.

All lengths are in points; places are measured from the top left corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D

from phoneme_moe.report.number_format import number
from phoneme_moe.report.page.palette import ramp, theme_colours
from phoneme_moe.report.paper.style import PaperStyle

MARGIN = 1.0
"""Room at the edges of a sheet, for the ends of lines and letters."""


class Box(NamedTuple):
    """A rectangle."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height


class Key(NamedTuple):
    """An entry of a legend: a mark of a colour, with its meaning."""

    mark: Literal["box", "ring", "dot", "outline", "tick", "scale"]
    colour: str
    text: str


def colour_of(css: str) -> str:
    """A colour of the page as ``#rrggbb``: itself, ``--ink`` or ``var(--ink)``."""
    return css if css.startswith("#") else theme_colours()[css.removeprefix("var(").rstrip(")")]


class Sheet:
    """A figure of the width of the style.

    Args:
        style: Width and font size.
        height: Height of the sheet.
    """

    def __init__(self, style: PaperStyle, height: float) -> None:
        self.style = style
        self.figure = Figure(
            figsize=(style.width / 72, height / 72), facecolor=colour_of("--paper")
        )
        FigureCanvasAgg(self.figure)
        self._height = height
        inches = Affine2D().scale(1 / 72, -1 / 72).translate(0, height / 72)
        self._points = inches + self.figure.dpi_scale_trans

    def axes(
        self, box: Box, x: tuple[float, float], y: tuple[float, float], **options: Any
    ) -> Axes:
        """Axes without lines and labels.

        Args:
            box: Where they are.
            x: Values at the left and right edge.
            y: Values at the lower and upper edge.
            options: Other options of the axes.
        """
        width = self.style.width
        place = (box.left / width, 1 - box.bottom / self._height)
        size = (box.width / width, box.height / self._height)
        axes = self.figure.add_axes((*place, *size), xlim=x, ylim=y, **options)
        axes.set_axis_off()
        return axes

    def text(self, x: float, y: float, text: str, colour: str = "--ink", **options: Any) -> None:
        """Writes a text, vertically centred.

        Args:
            x: Left end, or as ``ha`` says.
            y: Its middle.
            text: The text, never parsed as TeX.
            colour: Colour of the page.
            options: Options of matplotlib's text.
        """
        centred = {"va": "center_baseline", "parse_math": False, "transform": self._points}
        options = {"size": self.style.font_size, "color": colour_of(colour), **centred, **options}
        # Lines have room below letters that most letters do not take.
        right = 0.1 * self.style.font_size if options.get("rotation") else 0.0
        self.figure.text(x + right, y, text, **options)

    def line(
        self, xs: Sequence[float], ys: Sequence[float], colour: str, width: float, **options: Any
    ) -> None:
        """Draws a line."""
        look = {"color": colour_of(colour), "linewidth": width, **options}
        self.figure.add_artist(Line2D(xs, ys, transform=self._points, **look))

    def _grid_line(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """Draws a line below what is in the axes."""
        self.line(xs, ys, "--line", 0.5, zorder=-1)

    def rectangle(self, box: Box, **options: Any) -> None:
        """Draws a rectangle."""
        self.figure.add_artist(
            Rectangle(box[:2], box.width, box.height, transform=self._points, **options)
        )

    def legend(self, rows: Sequence[Sequence[Key]], left: float, top: float) -> None:
        """Draws rows of a legend, as ``legend_rows`` makes them."""
        em = self.style.font_size
        for i, row in enumerate(rows):
            x, y = left, top + (i + 0.5) * self.style.line
            for key in row:
                self._mark(key, x, y)
                self.text(x + _mark_width(key, self.style) + 0.4 * em, y, key.text, "--quiet")
                x += _key_width(key, self.style)

    def _mark(self, key: Key, x: float, y: float) -> None:
        em = self.style.font_size
        box = Box(x, y - 0.36 * em, 0.72 * em, 0.72 * em)
        if key.mark == "scale":
            self._scale(x, y)
        elif key.mark == "tick":
            self.line([x + 0.36 * em] * 2, [box.top, box.bottom], key.colour, 0.16 * em)
        elif key.mark in ("ring", "dot"):
            fill = "--paper" if key.mark == "ring" else key.colour
            self.figure.add_artist(
                Line2D([x + 0.36 * em], [y], transform=self._points, **dots(em, key.colour, fill))
            )
        elif key.mark == "outline":
            inner = Box(box.left + 0.06 * em, box.top + 0.06 * em, 0.6 * em, 0.6 * em)
            self.rectangle(inner, fill=False, edgecolor=colour_of(key.colour), linewidth=0.14 * em)
        else:
            self.rectangle(box, facecolor=colour_of(key.colour), edgecolor="none")

    def _scale(self, x: float, y: float) -> None:
        """The colours of weights from 0 on."""
        em = self.style.font_size
        self.text(x, y, "0", "--quiet")
        start = x + self.style.text_width("0") + 0.4 * em
        box = Box(start, y - 0.3 * em, _SCALE * em, 0.6 * em)
        steps = ramp("light", 21)
        for i, colour in enumerate(steps):
            part = Box(
                start + i * box.width / len(steps), box.top, box.width / len(steps), box.height
            )
            # Edges of their own colour leave no gaps between the steps.
            self.rectangle(part, facecolor=colour, edgecolor=colour, linewidth=0.2)
        self.rectangle(box, fill=False, edgecolor=colour_of("--strong-line"), linewidth=0.5)

    def x_axis(
        self, box: Box, limits: tuple[float, float], label: str, *, grid: bool = True
    ) -> None:
        """Numbers and label below a box, and grid lines in it, below what is drawn there."""
        style = self.style
        marks = even_marks(limits, min(6, max(2, int(box.width / (5 * style.font_size)))))
        self.x_marks(box, limits, marks, label, grid=grid)

    def x_marks(
        self,
        box: Box,
        limits: tuple[float, float],
        marks: Sequence[tuple[float, str]],
        label: str,
        *,
        grid: bool = False,
    ) -> None:
        """The same with given texts, which stay on the sheet."""
        style = self.style
        for place, text in marks:
            x = box.left + (place - limits[0]) / (limits[1] - limits[0]) * box.width
            if grid:
                self._grid_line([x, x], [box.top, box.bottom])
            half = style.text_width(text) / 2
            centre = min(max(x, MARGIN + half), style.width - MARGIN - half)
            self.text(centre, box.bottom + 0.75 * style.line, text, ha="center")
        self.text(
            box.left + box.width / 2, box.bottom + 1.75 * style.line, label, "--quiet", ha="center"
        )

    def y_axis(
        self,
        box: Box,
        limits: tuple[float, float],
        marks: Sequence[tuple[float, str]],
        label: str,
        *,
        grid: bool = True,
    ) -> None:
        """Texts and label left of a box, and grid lines in it."""
        em = self.style.font_size
        for place, text in marks:
            y = box.bottom - (place - limits[0]) / (limits[1] - limits[0]) * box.height
            if grid:
                self._grid_line([box.left, box.right], [y, y])
            self.text(box.left - 0.4 * em, y, text, ha="right")
        self.text(
            MARGIN + 0.5 * em,
            box.top + box.height / 2,
            label,
            "--quiet",
            ha="center",
            va="center",
            rotation=90,
        )


_SCALE = 6.0
"""Width of the colours of weights, in font sizes."""
BELOW_AXIS = 2.3
"""Room for numbers and label below a horizontal axis, in lines."""


def even_marks(
    limits: tuple[float, float], most: int, whole: bool = False
) -> list[tuple[float, str]]:
    """Round numbers within limits, or whole ones, with their texts."""
    locator = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=whole)
    places = locator.tick_values(*limits)
    return [(p, _plain_number(p)) for p in places if limits[0] <= p <= limits[1]]


def dots(em: float, edge: str, fill: str, size: float = 0.66) -> dict[str, Any]:
    """Options of a line that draw round dots instead; ``em`` is the font size."""
    return {
        "marker": "o",
        "linestyle": "none",
        "markersize": size * em,
        "markeredgewidth": 0.16 * em,
        "markeredgecolor": colour_of(edge),
        "markerfacecolor": colour_of(fill),
    }


def legend_rows(keys: Sequence[Key], style: PaperStyle, width: float) -> list[list[Key]]:
    """Entries of a legend in as many rows as it takes; long names are shortened.

    Args:
        keys: The entries.
        style: Width and font size.
        width: Width of a row.
    """
    rows: list[list[Key]] = []
    x = 0.0
    for key in keys:
        room = width - _mark_width(key, style) - 0.4 * style.font_size
        key = key._replace(text=style.fitted(key.text, room))
        needed = _key_width(key, style)
        if not rows or x + needed - _GAP * style.font_size > width:
            rows.append([])
            x = 0.0
        rows[-1].append(key)
        x += needed
    return rows


_GAP = 1.3
"""Room between entries of a legend, in font sizes."""


def _mark_width(key: Key, style: PaperStyle) -> float:
    em = style.font_size
    return style.text_width("0") + (0.4 + _SCALE) * em if key.mark == "scale" else 0.72 * em


def _key_width(key: Key, style: PaperStyle) -> float:
    return _mark_width(key, style) + style.text_width(key.text) + (0.4 + _GAP) * style.font_size


def _plain_number(value: float) -> str:
    """A number of an axis without needless decimals."""
    decimals = next(d for d in range(7) if d == 6 or np.isclose(value, round(value, d)))
    return number(value, decimals)
