"""Colours and files of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phoneme_moe.files import atomic_path
from phoneme_moe.report.page.palette import expert_colours, ramp
from phoneme_moe.report.page.picture import figure_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = expert_colours(6)
"""Told apart in every common kind of colour blindness."""


def save(figure: Figure, folder: Path, name: str, title: str) -> list[str]:
    """Writes a figure as SVG and PNG.

    Returns:
        The names of the files in the folder.
    """
    names = []
    for kind in ("svg", "png"):
        with atomic_path(folder / f"{name}.{kind}") as temporary:
            temporary.write_bytes(figure_bytes(figure, kind, title))
        names.append(f"{name}.{kind}")
    return names


def draw_weights(
    axes: Axes, percent: np.ndarray, rows: Sequence[str], columns: Sequence[str], top: float = 100
) -> None:
    """A heat map with its numbers.

    Args:
        axes: Where to draw.
        percent: What is in the cells, shape (rows, columns); ``nan`` leaves one empty.
        rows: Names, from the top.
        columns: Names, from the left.
        top: The value of the darkest colour.
    """
    from matplotlib.colors import ListedColormap

    axes.pcolormesh(
        percent, cmap=ListedColormap(ramp("light")), vmin=0, vmax=top, edgecolors="white"
    )
    for (row, column), value in np.ndenumerate(percent):
        if not np.isnan(value):
            axes.text(
                column + 0.5, row + 0.5, f"{value:.0f}", ha="center", va="center",
                fontsize="small", color="white" if value > 0.55 * top else "black",
            )  # fmt: skip
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize="small")
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize="small")
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
