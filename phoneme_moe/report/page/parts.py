"""Elements of a page: sections of blocks, each with a sentence, figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from phoneme_moe.report.page.charts import Chart


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: Content of the cell.
        note: Smaller text after it, such as an interval.
        shade: Step of the colour ramp, 0 to 100; None for no colour.
        outlined: Whether it is outlined.
        tag: Whether the text is styled as a tag.
        strong: Whether the text is bold.
        link: Address that the text leads to, or empty.
        whisker: Start, middle and end of an interval to draw, in per cent of the cell's width; None
            for no interval.
    """

    text: str
    note: str = ""
    shade: int | None = None
    outlined: bool = False
    tag: bool = False
    strong: bool = False
    link: str = ""
    whisker: tuple[float, float, float] | None = None


Row = tuple[str, Sequence[Cell]]


def row(heading: str, *cells: Cell | str) -> Row:
    """Makes a row of a table, converting plain text to cells."""
    return heading, [Cell(cell) if isinstance(cell, str) else cell for cell in cells]


@dataclass(frozen=True)
class Table:
    """A table with a caption, column headings and row headings.

    Attributes:
        caption: Caption of the table.
        head: Headings of the columns, the first above the row headings.
        rows: Heading and cells of each row.
        text_columns: Indices of columns with text instead of numbers, from 0 after the row heading.
        filterable: Whether the speaker filter applies to its rows.
        id: HTML id by which scripts and tests find the table, or empty.
        total: Whether the last row is over all rows.
        classes: CSS classes; ``heat`` for a heat map.
        cells: Number of heat-map columns after the row heading; 0 for other tables.
        top: The weight at the end of the colour scale; None without a scale.
        outline: Meaning of the outline, for screen readers.
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
class Figure:
    """A chart with its description: a plot of the page, a file for a paper.

    Attributes:
        id: Identifier, unique on the page.
        label: Description for screen readers.
        caption: Explanation of how to read it.
        chart: What it shows.
        legend: Colour (a CSS value, or ``hollow``) and name of each entry.
        beside: Explanation of what is drawn beside the cells, for which a narrow screen has no
            room.
    """

    id: str
    label: str
    caption: str
    chart: Chart
    legend: Sequence[tuple[str, str]] = ()
    beside: str = ""


@dataclass(frozen=True)
class Block:
    """One part of a section.

    Attributes:
        title: Heading; empty directly below the heading of the section.
        sentence: Findings for this run.
        figures: Figures, side by side or one below the other.
        tables: Tables below the figures.
        open_tables: Whether the tables are initially expanded.
        controls: Name of its controls in ``parts.html.jinja``, or empty.
        choices: Labels and panels, of which one is shown.
        id: Prefix of the ids in it.
        data: Values for the controls.
        content: Additional markup after the tables.
        hint: Explanation of how to read the tables.
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
