"""Writing every figure of a page as a file for a paper."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

import matplotlib.style

from phoneme_moe.errors import ArgumentError
from phoneme_moe.files.locks import lock_folder
from phoneme_moe.files.writing import write_bytes
from phoneme_moe.report.page.charts import (
    Bits,
    Changes,
    Curves,
    Dumbbells,
    MixingScatter,
    Stack,
)
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.parts import Block, Figure
from phoneme_moe.report.page.picture import figure_bytes
from phoneme_moe.report.page.render import report_sections
from phoneme_moe.report.page.time_view import TimeView
from phoneme_moe.report.paper.charts import (
    draw_bits,
    draw_changes,
    draw_curves,
    draw_dumbbells,
    draw_mixing,
    draw_stack,
)
from phoneme_moe.report.paper.heat_map import draw_heat_map
from phoneme_moe.report.paper.sheet import Key, Sheet
from phoneme_moe.report.paper.style import FONT, PaperStyle, paper_style
from phoneme_moe.report.paper.time_view import draw_time_view
from phoneme_moe.system.terminal import printable

CAPTIONS = "captions.txt"
"""File with what every figure shows, since there are no titles in them."""
_DPI = 600


def report_figures(document: Mapping[str, Any]) -> list[Figure]:
    """All figures of the page of a report, in its order.

    Args:
        document: The content of ``routing.json``.
    """
    blocks = [block for section in report_sections(document) for block in section.blocks]
    return [figure for block in blocks for figure in _figures_of(block)]


def _figures_of(block: Block) -> Iterator[Figure]:
    yield from block.figures
    for _, panel in block.choices:
        yield from _figures_of(panel)


def write_figures(
    figures: Sequence[Figure],
    folder: Path,
    style: PaperStyle | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> list[Path]:
    """Writes figures as ``01_speakers.svg`` ..., and their captions; nothing if there are none.

    Args:
        figures: The figures in their order.
        folder: Where to, created if missing; files of the same name are replaced, each atomically.
        style: Format, width and font size; by default those of ``paper_style``.
        progress: Called with the name of each file as it is drawn.

    Returns:
        The files: figures, then captions.

    Raises:
        ArgumentError: The folder is a file.
        InputError: Another process is writing to the folder.
    """
    check_folder(folder)
    if not figures:
        return []
    style = style or paper_style()
    names = [f"{i:02}_{_name(figure)}.{style.format}" for i, figure in enumerate(figures, 1)]
    # Everything is drawn before any file is replaced.
    contents = {}
    for name, figure in zip(names, figures, strict=True):
        progress(f"drawing {name}")
        contents[name] = figure_content(figure, style)
    captions = [
        f"{name}: {printable(_caption(figure))}\n"
        for name, figure in zip(names, figures, strict=True)
    ]
    contents[CAPTIONS] = "".join(captions).encode()
    with lock_folder(folder):
        for name, content in contents.items():
            write_bytes(folder / name, content)
    return [folder / name for name in contents]


def check_folder(folder: Path) -> None:
    """Checks that files can be written to a folder.

    Raises:
        ArgumentError: It is a file, or in a file.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise ArgumentError("figures", f"found a file, {there}, expected a folder")


def figure_content(figure: Figure, style: PaperStyle) -> bytes:
    """A figure as the content of a file: the same bytes whatever the user's settings are.

    Args:
        figure: The figure.
        style: Format, width and font size.
    """
    settings: dict[str, Any] = {
        "font.family": "sans-serif",
        "font.sans-serif": [FONT],
        "pdf.fonttype": 42,
    }
    with matplotlib.style.context(["default", settings]), warnings.catch_warnings():
        # A character that no font has is drawn as a box, and stays text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        sheet = draw_figure(figure, style)
        # A whole number of pixels, so that the width is exact.
        inches = style.width / 72
        dpi = math.ceil(inches * _DPI) / inches
        return figure_bytes(
            sheet.figure, style.format, figure.label, description=_caption(figure), dpi=dpi
        )


def _name(figure: Figure) -> str:
    return figure.id.removeprefix("heat-").replace("-", "_")


def _caption(figure: Figure) -> str:
    return " ".join(filter(None, [f"{figure.label}.", figure.caption, figure.beside]))


def draw_figure(figure: Figure, style: PaperStyle) -> Sheet:
    """Draws a figure with its legend.

    Args:
        figure: The figure.
        style: Width and font size.
    """
    keys = [Key("box", colour, name) for colour, name in figure.legend]
    match figure.chart:
        case HeatMap():
            return draw_heat_map(figure.chart, style)
        case Dumbbells():
            return draw_dumbbells(figure.chart, style)
        case Changes():
            return draw_changes(figure.chart, style)
        case Bits():
            return draw_bits(figure.chart, style)
        case MixingScatter():
            return draw_mixing(figure.chart, style)
        case Curves():
            return draw_curves(figure.chart, style, keys)
        case Stack():
            return draw_stack(figure.chart, style, keys)
        case TimeView():
            return draw_time_view(figure.chart, style, keys)
        case _:
            assert_never(figure.chart)
