"""Figure of the ladder: errors relative to the dense net on test, and on dev by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.ladder_page import BASELINE, best_of, compare, runs_of
from phoneme_moe.files.atomic import atomic_path
from phoneme_moe.report.page.picture import figure_bytes
from phoneme_moe_reproductions.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEST, OTHERS = COLOURS[0], "#b0b0b0"


def draw(figures: dict[str, Any], order: tuple[str, ...], folder: Path) -> None:
    """Writes ``sparse_ladder.svg`` into a folder, if there is a sparse recipe to compare.

    Args:
        figures: As ``benchmarks.sparse_ladder`` keeps them.
        order: Recipes of the ladder.
        folder: Of the pictures.
    """
    from matplotlib.figure import Figure

    baseline = runs_of(figures, BASELINE)
    recipes = [r for r in order if r != BASELINE and runs_of(figures, r)]
    if not baseline or not recipes:
        return
    best = best_of(figures, order)
    figure = Figure(figsize=(9, 0.9 + 0.32 * max(6, len(recipes))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    changes = {r: change for r in recipes if (change := compare(figures, r)) is not None}
    ranked = sorted(changes, key=lambda r: changes[r].whole, reverse=True)
    for row, recipe in enumerate(ranked):
        change = changes[recipe]
        whole, low, high = (100 * value for value in (change.whole, change.low, change.high))
        colour = BEST if recipe == best else "black"
        left.plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="round")
        left.plot(whole, row, "o", color=colour)
    left.axvline(0, color="black", linewidth=0.8)
    left.set_yticks(range(len(ranked)), ranked)
    left.set_xlabel("errors on test against dense, % of them (95 %)")
    _curves(right, figures, recipes, best)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(folder / "sparse_ladder.svg") as temporary:
        temporary.write_bytes(figure_bytes(figure, "svg", "Sparse mixtures against one dense net"))


def _curves(axes: Axes, figures: dict[str, Any], recipes: list[str], best: str | None) -> None:
    """Errors on dev, epoch by epoch."""
    styles = {recipe: (OTHERS, 1.0) for recipe in recipes if recipe != best}
    if best is not None:
        styles[best] = (BEST, 2.0)
    styles[BASELINE] = ("black", 2.0)
    lowest = 100.0
    for number, (recipe, (colour, width)) in enumerate(styles.items()):
        history = runs_of(figures, recipe)[0]["history"]
        errors = [100 * epoch["dev_error"] for epoch in history]
        lowest = min([lowest, *errors])
        named = recipe
        if recipe not in {best, BASELINE}:
            named = "_" if number else "the others"  # matplotlib leaves "_" out of the legend
        axes.plot(range(1, len(errors) + 1), errors, color=colour, linewidth=width, label=named)
    axes.set_ylim(lowest - 1, lowest + 25)
    axes.set_xlabel("epoch")
    axes.set_ylabel("PER on dev, %")
    axes.legend(frameon=False)
