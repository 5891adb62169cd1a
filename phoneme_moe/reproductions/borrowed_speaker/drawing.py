"""What each speaker pays without his module, and who replaces it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe.reproductions.borrowed_speaker.findings import mean_blend, whole, with_all


def draw(results: Mapping[str, Any], folder: Path, name: str = "borrowed_speaker") -> list[str]:
    """Error of each speaker with and without his module; and the blend that replaces it."""
    from matplotlib.figure import Figure

    from phoneme_moe.reproductions.figures import COLOURS, draw_weights, save

    runs = whole(results)
    speakers = runs[0]["speakers"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    kinds = {
        "all": "gate over all modules",
        "without": "gate over the others' modules",
        "best_other": "best module of another alone",
    }
    for shift, (kind, label) in enumerate(kinds.items()):
        for row, speaker in enumerate(speakers):
            values = [with_all(r, speaker) if kind == "all" else r[kind][speaker] for r in runs]
            height = row + (shift - 1) * 0.22
            left.plot(
                values, [height] * len(values), "|", color=COLOURS[shift], markersize=7, alpha=0.7
            )
            left.plot(
                np.mean(values), height, "o", color=COLOURS[shift], markersize=6,
                label=label if row == 0 else None,
            )  # fmt: skip
    left.set_yticks(range(len(speakers)), speakers)
    left.invert_yaxis()
    left.set_xlim(0)
    left.set_xlabel("error, % (strokes: seeds; points: means)")
    left.legend(frameon=False, fontsize="small")
    left.spines[["top", "right"]].set_visible(False)
    weights = np.array([mean_blend(runs, number) for number in range(len(speakers))])
    np.fill_diagonal(weights, np.nan)
    draw_weights(right, weights, speakers, speakers)
    right.set_title("who replaces him: mean weight, %", fontsize="small")
    return save(figure, folder, name, "Speakers without their own module")
