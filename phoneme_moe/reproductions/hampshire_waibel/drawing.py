"""Rates of all systems; and whom the gate asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phoneme_moe.reproductions.hampshire_waibel.findings import PUBLISHED, error_rates, mean_weights
from phoneme_moe.reproductions.statistics import estimate


def draw(results: Mapping[str, Any], folder: Path, name: str = "hampshire_waibel") -> list[str]:
    """Error of every system on six speakers, with the published one; and Meta-Pi's weights.

    Args:
        results: Of all jobs.
        folder: Where to write.
        name: Of the files. Published figures are drawn for the paper's own task only.
    """
    from matplotlib.figure import Figure

    from phoneme_moe.reproductions.figures import COLOURS, draw_weights, save

    runs = [r["six"] for r in results.values()]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    for row, (system, (*_, published)) in enumerate(PUBLISHED.items()):
        rates = error_rates(runs, system)
        middle = estimate(rates)
        left.plot(rates, [row] * len(rates), "|", color=COLOURS[0], markersize=9, alpha=0.6)
        left.plot([middle.low, middle.high], [row, row], color=COLOURS[0], linewidth=3)
        if published is not None and name == "hampshire_waibel":
            left.plot(100 - published, row, "D", color=COLOURS[1], markersize=6)
    left.plot([], [], "|", color=COLOURS[0], markersize=9, label="a seed")
    left.plot([], [], color=COLOURS[0], linewidth=3, label="95 % interval of the mean")
    if name == "hampshire_waibel":
        left.plot([], [], "D", color=COLOURS[1], label="1989")
    left.set_yticks(range(len(PUBLISHED)), list(PUBLISHED))
    left.invert_yaxis()
    left.set_xlim(0)
    left.set_xlabel("error on six speakers, %")
    left.legend(frameon=False, fontsize="small", loc="lower right")
    left.spines[["top", "right"]].set_visible(False)
    draw_weights(right, mean_weights(runs, "Meta-Pi"), runs[0]["speakers"], runs[0]["speakers"])
    right.set_title("Meta-Pi: mean weight of each module, %", fontsize="small")
    return save(figure, folder, name, "Error of every system, and whom Meta-Pi's gate asks")
