"""Bokeh figures of the routing report as plain values, which the page draws.

Colours are given by name: the tags of a model contain ``{"colours": {property: CSS variable}}``,
and the page's script sets them for the light or dark theme. Names of speakers, experts and phonemes
are put only into data columns, never into tooltip templates, so that they are not parsed as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bokeh.core.properties import value
from bokeh.document import Document
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LayoutDOM,
    LinearColorMapper,
    Model,
    Range1d,
)
from bokeh.models.glyph import Glyph
from bokeh.plotting import figure

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif'


@dataclass(frozen=True)
class Drawing:
    """A Bokeh document with its size.

    Attributes:
        document: The document as plain values.
        height: Height in CSS pixels.
        min_width: Width in CSS pixels below which the plot scrolls horizontally.
        top: The weight at the end of its colour scale; None without a scale.
    """

    document: Mapping[str, Any]
    height: int
    min_width: int = 0
    top: float | None = None


def drawing(root: LayoutDOM, **room: Any) -> Drawing:
    """Converts a plot to a document of plain values, reproducibly.

    Bokeh numbers models consecutively within a process; here they are renumbered from 0.

    Args:
        root: The plot, whose height is that of the drawing.
        room: Other attributes of the drawing.
    """
    document = Document(title="")
    document.add_root(root)
    content = dict[str, Any](document.to_json(deferred=False))
    known: dict[str, str] = {}

    # Only values of "id" are identifiers: a speaker in a data column may be named "p1001".
    # A part may occur twice, so parts are copied instead of changed.
    def renumbered(value: Any) -> Any:
        if isinstance(value, dict):
            copy = {}
            for key, part in value.items():
                is_id = key == "id" and isinstance(part, str)
                copy[key] = known.setdefault(part, f"b{len(known)}") if is_id else renumbered(part)
            return copy
        return [renumbered(part) for part in value] if isinstance(value, list) else value

    return Drawing(renumbered(content), **{"height": root.height, **room})


def themed(model: Model, **colours: str) -> None:
    """Lets the page set colour properties from its CSS variables (``--ink`` ...)."""
    kind = "glyph_colours" if isinstance(model, Glyph) else "colours"
    tag(model, **{kind: colours})


def tag(model: Model, **content: Any) -> None:
    """Adds data for the page's script to the tags of a model."""
    model.tags = [*model.tags, content]


def plain(name: str, longest: int = 22) -> str:
    """A shortened name for an axis, never parsed as TeX, for which Bokeh would load a script."""
    for mark in ("$$", "\\[", "\\("):
        name = name.replace(mark, f"{mark[0]}\u2060{mark[1]}")
    return name if len(name) <= longest else name[: longest - 1] + "…"


def frame(
    height: int,
    x: tuple[float, float],
    y: tuple[float, float],
    *,
    x_label: str = "",
    y_label: str = "",
    grid: Literal["", "x", "y", "both"] = "",
    x_range: Range1d | None = None,
    **more: Any,
) -> figure:
    """An empty plot in the style of the page, which fills the available width.

    Args:
        height: Height in CSS pixels.
        x: First and last value of the horizontal axis.
        y: First and last value of the vertical axis, from bottom to top.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
        grid: Axes with grid lines.
        x_range: A range shared with other plots, in place of ``x``.
        more: Additional properties of the figure.
    """
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        x_range=x_range or Range1d(start=x[0], end=x[1]),
        y_range=Range1d(start=y[0], end=y[1]),
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border=4,
        **more,
    )
    for axis, label in ((plot.xaxis[0], x_label), (plot.yaxis[0], y_label)):
        axis.axis_label = label or None
        axis.update(
            axis_label_text_font=FONT,
            axis_label_text_font_size="12px",
            axis_label_text_font_style="normal",
            axis_label_standoff=6,
            major_label_text_font=FONT,
            major_label_text_font_size="12px",
            major_tick_line_color=None,
            minor_tick_line_color=None,
            axis_line_color=None,
        )
        themed(axis, axis_label_text_color="--quiet", major_label_text_color="--ink")
    for name, lines in (("x", plot.xgrid[0]), ("y", plot.ygrid[0])):
        lines.grid_line_color = None
        if grid in (name, "both"):
            themed(lines, grid_line_color="--line")
    return plot


def write(
    plot: figure, source: ColumnDataSource, x: str, text: str, size: str, **properties: Any
) -> Any:
    """Draws the text of one column of a source at ``x`` and ``y``, vertically centred."""
    return plot.text(
        x,
        "y",
        text,
        source=source,
        text_font=value(FONT),
        text_font_size=size,
        text_baseline="middle",
        **properties,
    )


def names_axis(plot: figure, names: Sequence[str]) -> None:
    """Labels the rows of a plot; the script shortens labels and moves them with the filter."""
    axis = plot.yaxis[0]
    axis.ticker = FixedTicker(ticks=[i + 0.5 for i in range(len(names))])
    axis.major_label_overrides = {i + 0.5: plain(name) for i, name in enumerate(names)}
    tag(axis, names=list(names))


def hover(plot: figure, renderers: Sequence[Any], lines: Sequence[str], **more: Any) -> None:
    """Adds a tooltip whose lines contain only fixed text and ``@columns``."""
    body = "".join(f"<div>{line}</div>" for line in lines)
    plot.add_tools(HoverTool(renderers=list(renderers), tooltips=body, **more))


def mapper(low: float = 0.0, high: float = 1.0) -> LinearColorMapper:
    """Colour mapper of weights; the script sets the theme's ramp."""
    colours = LinearColorMapper(palette=["#ffffff", "#000000"], low=low, high=high)
    tag(colours, ramp=True)
    return colours


def lookups(source: ColumnDataSource, **columns: Mapping[str, Any]) -> None:
    """Adds columns that the script computes: name -> {"by": index column, "of": values}."""
    tag(source, lookups=columns)
