"""Panels, colours and files of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phoneme_moe.files.atomic import atomic_path
from phoneme_moe.report.page.palette import expert_colours, ramp

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = expert_colours(6)
"""Distinct in every common kind of colour blindness."""


def two_panels(
    width: float, height: float, ratios: tuple[float, float] = (1, 1)
) -> tuple[Figure, Any, Any]:
    """A figure, in inches, with two axes side by side that have no upper and right border."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=ratios)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure, left, right


def save(figure: Figure, folder: Path, name: str, title: str) -> list[str]:
    """Writes a figure as SVG and PNG.

    Returns:
        The names of the files in the folder.
    """
    from phoneme_moe.report.page.picture import figure_bytes

    names = []
    for kind in ("svg", "png"):
        with atomic_path(folder / f"{name}.{kind}") as temporary:
            temporary.write_bytes(figure_bytes(figure, kind, title))
        names.append(f"{name}.{kind}")
    return names


def draw_weights(
    axes: Axes, percent: np.ndarray, rows: Sequence[str], columns: Sequence[str], top: float = 100
) -> None:
    """A heat map with a number in each cell.

    Args:
        axes: Where to draw.
        percent: Values, shape (rows, columns); ``nan`` leaves a cell empty.
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
