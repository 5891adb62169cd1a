"""Width and font size of the figures of a paper, and the room that text takes in them.

All lengths are in points (1/72 inch) unless a name says otherwise.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from phoneme_moe.errors import ArgumentError
from phoneme_moe.system.terminal import printable

Format = Literal["svg", "pdf", "png"]

_POINTS = {"mm": 72 / 25.4, "cm": 72 / 2.54, "in": 72.0, "pt": 1.0}
"""Points in each unit of length."""
_MOST_MM = 1000
_LEAST_EMS = 20
"""Smallest width, in font sizes, that has room for names beside the cells."""
_FONT_SIZES = (4.0, 24.0)
#: matplotlib brings this font, so that the files are the same everywhere.
FONT = "DejaVu Sans"


@dataclass(frozen=True)
class PaperStyle:
    """How the figures are written.

    Attributes:
        format: Format of the files.
        width: Width of every figure.
        font_size: Size of all text.
    """

    format: Format
    width: float
    font_size: float

    @property
    def line(self) -> float:
        """Height of a line of text."""
        return 1.3 * self.font_size

    def text_width(self, text: str) -> float:
        """Width of a text."""
        return _em_width(text) * self.font_size

    def widest(self, texts: list[str]) -> float:
        """Width of the widest text; 0 without any."""
        return max(map(self.text_width, texts), default=0.0)

    def fitted(self, text: str, width: float) -> str:
        """A name as it fits into a width, without control characters.

        What does not fit is left out of the middle: names often differ at their ends.
        """
        text = printable(text)
        if self.text_width(text) <= width:
            return text
        for kept in range(len(text) - 1, 1, -1):
            shorter = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
            if self.text_width(shorter) <= width:
                return shorter
        return "…"


@cache
def _em_width(text: str) -> float:
    """Width of a text relative to the font size."""
    font = FontProperties(family=FONT, size=100)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 100


def paper_style(
    format: str = "svg", width: str | float = "84mm", font_size: float = 8
) -> PaperStyle:
    """Checks what a user asks for.

    Args:
        format: ``svg``, ``pdf`` or ``png``.
        width: Width of every figure, such as ``84mm``, ``8.4cm``, ``3.3in`` or ``238pt``; a number
            is in millimetres.
        font_size: Size of all text in points.

    Raises:
        ArgumentError: There is no such format, or a size is none or does not fit.
    """
    if format not in get_args(Format):
        raise ArgumentError("format", f"found {format!r}, expected svg, pdf or png")
    low, high = _FONT_SIZES
    if not low <= font_size <= high:
        raise ArgumentError(
            "font_size", f"found {font_size:g}, expected {low:g} to {high:g} points"
        )
    points = width * _POINTS["mm"] if isinstance(width, int | float) else _points(width)
    least = math.ceil(_LEAST_EMS * font_size / _POINTS["mm"])
    if not least <= points / _POINTS["mm"] <= _MOST_MM:
        raise ArgumentError(
            "width",
            f"found {width}, expected {least}mm to {_MOST_MM}mm with text of {font_size:g} points",
        )
    # Checked above; mypy does not narrow a str to literals.
    return PaperStyle(format, points, font_size)  # type: ignore[arg-type]


def _points(length: str) -> float:
    """A length with its unit in points."""
    found = re.fullmatch(
        r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)\s*", length, re.ASCII | re.IGNORECASE
    )
    if found is None or found[2].lower() not in _POINTS:
        raise ArgumentError(
            "width", f"found {length!r}, expected a length in mm, cm, in or pt, such as 84mm"
        )
    return float(found[1]) * _POINTS[found[2].lower()]
