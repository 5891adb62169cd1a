"""Error over what a decision costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phoneme_moe.reproductions.ensembles.findings import by_task, errors, mean_cost
from phoneme_moe.reproductions.ensembles.systems import TASKS
from phoneme_moe.reproductions.statistics import estimate

MARKERS = "oosDvv^<>"


def draw(results: Mapping[str, Any], folder: Path) -> list[str]:
    """A panel for each task: error over multiply-adds, every system a point with its interval."""
    from matplotlib.figure import Figure

    from phoneme_moe.reproductions.figures import COLOURS, save

    runs = by_task(results)
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    panels = figure.subplots(1, len(TASKS))
    for axes, task in zip(panels, TASKS, strict=True):
        for number, system in enumerate(runs[task][0]):
            found = estimate(errors(runs, task, system))
            cost = mean_cost(runs, task, system, "multiply_adds")
            axes.errorbar(
                cost, found.mean, [[found.mean - found.low], [found.high - found.mean]],
                fmt=MARKERS[number], color=COLOURS[number % len(COLOURS)], markersize=7, capsize=3,
                fillstyle="full" if number % 2 == 0 else "none", label=system,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_ylim(0)
        axes.set_xlabel("multiply-adds a decision")
        axes.set_ylabel("error, %")
        axes.set_title(TASKS[task], fontsize="small")
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize="small"
    )
    return save(figure, folder, "ensembles", "Error of every system over the cost of a decision")
