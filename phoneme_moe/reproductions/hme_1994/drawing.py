"""How fast the likelihood rises; and how many experts are in use when training ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe.reproductions.hme_1994.findings import METHODS, by_system
from phoneme_moe.reproductions.hme_1994.systems import GROWN_LEAVES, PRIORS


def draw(results: Mapping[str, Any], folder: Path) -> list[str]:
    """How fast the likelihood rises; and how many experts are in use when training ends."""
    from matplotlib.figure import Figure

    from phoneme_moe.reproductions.figures import COLOURS, save

    runs = by_system(results)
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (method, title) in zip(COLOURS, METHODS.items(), strict=False):
        for number, found in enumerate(runs[f"{method}_{GROWN_LEAVES}"]):
            left.plot(
                range(1, len(found["curve"]) + 1), found["curve"], color=colour, linewidth=1,
                alpha=0.7, label=title if number == 0 else None,
            )  # fmt: skip
    left.set_xscale("log")
    left.set_ylim(-2.4, 0)
    left.set_xlabel("iteration (EM) or epoch (gradient)")
    left.set_ylabel("log likelihood a training token, nats")
    left.set_title(f"{GROWN_LEAVES} leaves, F0-F3, every run", fontsize="small")
    for shift, kind in ((-0.15, "fixed"), (0.15, "grown")):
        colour = COLOURS[0 if kind == "fixed" else 1]
        for place, prior in enumerate(PRIORS):
            used = [r["in_use"] for r in runs[f"{kind}_F0-F3_{prior:g}"]]
            spread = place + shift + np.linspace(-0.08, 0.08, len(used))
            right.plot(
                spread, used, "o", color=colour, markersize=4, alpha=0.7,
                label=kind if place == 0 else None,
            )  # fmt: skip
            right.hlines(np.mean(used), place + shift - 0.12, place + shift + 0.12, color=colour)
    right.set_xticks(range(len(PRIORS)), [f"{prior:g}" for prior in PRIORS])
    right.set_ylim(0, GROWN_LEAVES + 0.5)
    right.set_xlabel("precision of the prior on the weights")
    right.set_ylabel(f"experts in use, of {GROWN_LEAVES}")
    right.set_title("fixed and grown trees, every run and mean", fontsize="small")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize="small", loc="lower right")
        axes.spines[["top", "right"]].set_visible(False)
    return save(figure, folder, "hme_1994", "Likelihood by iteration, and experts in use by prior")
