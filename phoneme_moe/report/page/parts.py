"""What the page is made of: sections of blocks, each block a sentence, a figure and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What it says.
        note: Smaller text behind it, such as an interval.
        shade: Whole per cent that colour the cell; None for no colour.
        own: Whether it is the speaker's own expert.
        tag: Whether the text is set as a tag.
    """

    text: str
    note: str = ""
    shade: int | None = None
    own: bool = False
    tag: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a caption, a row of headings and a heading in every row.

    Attributes:
        caption: What the table holds.
        head: Headings of the columns; the first one stands over the row headings.
        rows: Heading and cells of every row.
        words: Columns that hold words and not numbers, counted from 0 without the row heading.
        filterable: Whether the speaker filter narrows it (rows are speakers).
        id: Where a script changes the table, else empty.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    words: frozenset[int] = frozenset()
    filterable: bool = False
    id: str = ""


@dataclass(frozen=True)
class Figure:
    """A plot that the page draws when it comes into view.

    Attributes:
        id: Unique on the page.
        label: What a screen reader says in its place.
        caption: How to read it.
        document: The Bokeh document as plain values.
        height: CSS pixels kept free for it.
        min_width: CSS pixels below which the plot scrolls in its own box.
        top: The weight at the end of its colour scale; None without one.
        legend: Colour (a CSS value) and name of every part.
    """

    id: str
    label: str
    caption: str
    document: Mapping[str, Any]
    height: int
    min_width: int = 0
    legend: Sequence[tuple[str, str]] = ()
    top: float | None = None


@dataclass(frozen=True)
class Block:
    """One question of a section.

    Attributes:
        title: Heading; empty right under the heading of the section.
        sentence: What the numbers say on this run.
        figures: Drawn beside or under each other.
        tables: Behind the figures.
        open_tables: Whether the tables stand open because they are the point.
        controls: Name of the macro of the template that offers controls; empty for none.
        choices: Panels of which one is shown, by label.
        id: Prefix of ids in it.
    """

    title: str
    sentence: str
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    open_tables: bool = False
    controls: str = ""
    choices: Sequence[tuple[str, Block]] = ()
    id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A numbered section of the page."""

    id: str
    title: str
    blocks: Sequence[Block]


def per_cent(share: float) -> str:
    """A share in 0..1 as per cent with one decimal, without the sign."""
    return f"{100 * share:.1f}"


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many decimals; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def signed(value: float | None, digits: int = 1) -> str:
    """A change with its sign; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("+-")


def small(value: float | None) -> str:
    """A probability that is never written as nought."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.0005 else f"{value:.3f}"


def shade(share: float, top: float = 1.0) -> int:
    """Whole per cent of the end of the scale, 0 to 100, for the colour of a cell."""
    return min(100, max(0, round(100 * share / top)))


def plural(count: int, noun: str) -> str:
    """``1 frame``, ``2 frames``, ``1,200 frames``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
