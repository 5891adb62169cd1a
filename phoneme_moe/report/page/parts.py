"""What a page is made of: sections of blocks, each a sentence with its figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: Its content.
        note: Smaller text behind it, such as an interval.
        shade: Step of the colour ramp, 0 to 100; None for no colour.
        outlined: Whether the table's outline marks it.
        tag: Whether the text is set as a tag.
        strong: Whether the text is set in bold.
        whisker: Ends and middle of an interval to draw, in per cent of the cell's width; None
            without one.
    """

    text: str
    note: str = ""
    shade: int | None = None
    outlined: bool = False
    tag: bool = False
    strong: bool = False
    whisker: tuple[float, float, float] | None = None


Row = tuple[str, Sequence[Cell]]


def row(heading: str, *cells: Cell | str) -> Row:
    """A row of a table; plain text becomes a cell."""
    return heading, [Cell(cell) if isinstance(cell, str) else cell for cell in cells]


@dataclass(frozen=True)
class Table:
    """A table with a caption, a row of headings and a heading in every row.

    Attributes:
        caption: What the table holds.
        head: Headings of the columns; the first one stands over the row headings.
        rows: Heading and cells of every row.
        text_columns: Columns of text, not numbers, counted from 0 without the row heading.
        filterable: Whether the speaker filter narrows it (rows are speakers).
        id: Where a script or a test looks for the table, else empty.
        total: Whether the last row is that of all rows together.
        classes: Classes of the style sheet; ``heat`` for a heat map.
        cells: Columns of a heat map, after the row heading; 0 for another table.
        top: The weight at the end of the colour scale; None without one.
        outline: What the outline means, for screen readers.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Row]
    text_columns: frozenset[int] = frozenset()
    filterable: bool = False
    id: str = ""
    total: bool = False
    classes: str = ""
    cells: int = 0
    top: float | None = None
    outline: str = ""


@dataclass(frozen=True)
class Drawing:
    """A Bokeh document and the room it takes.

    Attributes:
        document: As plain values.
        height: CSS pixels.
        min_width: CSS pixels below which the plot scrolls in its own box.
        top: The weight at the end of its colour scale; None without one.
    """

    document: Mapping[str, Any]
    height: int
    min_width: int = 0
    top: float | None = None


@dataclass(frozen=True)
class Figure:
    """A plot that the page draws when it comes into view.

    Attributes:
        id: Unique on the page.
        label: Description for screen readers.
        caption: How to read it.
        drawing: The plot.
        legend: Colour (a CSS value, or ``hollow``) and name of every part.
    """

    id: str
    label: str
    caption: str
    drawing: Drawing
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Block:
    """One question of a section.

    Attributes:
        title: Heading; empty right under the heading of the section.
        sentence: What the numbers say on this run.
        figures: Drawn beside or under each other.
        tables: Behind the figures.
        open_tables: Whether the tables stand open because they are the point.
        controls: Which controls of ``parts.html.jinja`` it has; empty for none.
        choices: Panels of which one is shown, by label.
        id: Prefix of ids in it.
        data: What its controls need.
        content: Markup of its own, behind the tables.
        hint: How the tables are to be read.
    """

    title: str
    sentence: str
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    open_tables: bool = False
    controls: str = ""
    choices: Sequence[tuple[str, Block]] = ()
    id: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    content: Markup | None = None
    hint: str = ""


@dataclass(frozen=True)
class Section:
    """A numbered section of the page."""

    id: str
    title: str
    blocks: Sequence[Block]
