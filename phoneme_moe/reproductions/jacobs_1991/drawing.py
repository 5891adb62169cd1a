"""Epochs of every run; and where one mixture draws its lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe.reproductions.jacobs_1991.findings import PUBLISHED
from phoneme_moe.reproductions.jacobs_1991.systems import (
    INITIAL_RANGES,
    SYSTEMS,
    four_vowels,
    job_key,
)
from phoneme_moe.reproductions.peterson_barney import VOWELS


def draw(results: Mapping[str, Any], folder: Path) -> list[str]:
    """Epochs of every run; and where one mixture draws its lines."""
    from matplotlib.figure import Figure

    from phoneme_moe.reproductions.figures import COLOURS, save

    figure = Figure(figsize=(9, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    keys = {name: job_key(name, INITIAL_RANGES[0]) for name in SYSTEMS}
    for row, (name, key) in enumerate(keys.items()):
        ours = [r["epochs"] for r in results[key]["runs"] if r]
        left.plot(ours, [row] * len(ours), "|", color=COLOURS[0], markersize=12)
        if name in PUBLISHED:
            left.plot(PUBLISHED[name][2], row, "D", color=COLOURS[1], markersize=6)
    left.plot([], [], "|", color=COLOURS[0], markersize=12, label="a run")
    left.plot([], [], "D", color=COLOURS[1], label="mean of 1991")
    left.set_yticks(range(len(keys)), list(keys))
    left.invert_yaxis()
    left.set_xlim(0)
    left.set_xlabel("epochs until the average error is 0.08")
    left.legend(frameon=False, fontsize="small")
    left.spines[["top", "right"]].set_visible(False)
    _draw_lines(right, results[keys["4 experts"]])
    return save(figure, folder, "jacobs_1991", "Epochs of every run, and the lines of one mixture")


def _draw_lines(axes: Any, found: Mapping[str, Any]) -> None:
    """Cases, and the line of each expert where the gate gives it most of the weight."""
    from phoneme_moe.reproductions.figures import COLOURS

    inputs, _, training, vowel = four_vowels()
    names = {"iy": "[i]", "ih": "[I]", "aa": "[a]", "ah": "[ʌ]"}
    for number, (name, text) in enumerate(names.items()):
        own = inputs[(vowel == VOWELS.index(name)) & training].numpy()
        axes.plot(*own.T, ".", color=COLOURS[number], markersize=4, label=text)
    axes.set_xlabel("F1, kHz")
    axes.set_ylabel("F2, kHz")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", loc="center right")
    first = next((r for r in found["runs"] if r), None)
    if first is None:
        return
    weights = {name: np.array(value) for name, value in first["weights"].items()}
    low, high = inputs.min(dim=0).values.numpy(), inputs.max(dim=0).values.numpy()
    grid = np.stack(
        np.meshgrid(np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200)), -1
    )
    gate = grid @ weights["gate.layers.0.weight"][0] + weights["gate.layers.0.bias"][0, 0]
    winner = gate.argmax(axis=-1)
    for expert in np.unique(winner):
        score = (
            grid @ weights["experts.layers.0.weight"][expert]
            + weights["experts.layers.0.bias"][expert, 0]
        )[..., 0]
        shown = np.where(winner == expert, score, np.nan)
        axes.contour(grid[..., 0], grid[..., 1], shown, [0.0], colors="black", linewidths=1.4)
    for expert in np.unique(winner)[1:]:
        axes.contour(
            grid[..., 0], grid[..., 1], (winner == expert).astype(float), [0.5],
            colors="grey", linestyles="dashed", linewidths=1,
        )  # fmt: skip
    axes.set_title("one mixture of 4: experts' lines, and the gate's (dashed)", fontsize="small")
