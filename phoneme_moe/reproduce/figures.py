"""Colours and files of the figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phoneme_moe.report.figures import figure_bytes
from phoneme_moe.report.palette import expert_colours
from phoneme_moe.run import atomic_path

if TYPE_CHECKING:
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
