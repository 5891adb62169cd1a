"""Error by what was heard of the new speaker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe.reproductions.novel_speaker.findings import by_seed
from phoneme_moe.reproductions.novel_speaker.systems import SIZES
from phoneme_moe.reproductions.statistics import estimate

KINDS = {"gate": "gate adapted", "expert": "gate and new expert"}


def draw(results: Mapping[str, Any], folder: Path, name: str = "novel_speaker") -> list[str]:
    """Curves over the tokens heard: the mean over speakers, and every speaker."""
    from matplotlib.figure import Figure

    from phoneme_moe.reproductions.figures import COLOURS, save

    runs = list(results.values())
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    places = np.arange(len(SIZES) + 1)
    for number, (key, label) in enumerate(KINDS.items()):
        for prefix, style in (("", "-"), ("old_", ":")):
            start = "old" if prefix else "none"
            middles = [estimate(by_seed(runs, start))]
            middles += [estimate(by_seed(runs, prefix + key, size)) for size in SIZES]
            left.plot(
                places, [m.mean for m in middles], style, color=COLOURS[number],
                label=f"{'old speakers' if prefix else 'new speaker'}, {label}",
            )  # fmt: skip
            left.fill_between(
                places, [m.low for m in middles], [m.high for m in middles],
                color=COLOURS[number], alpha=0.15, linewidth=0,
            )  # fmt: skip
    own = float(np.mean(by_seed(runs, "own")))
    left.axhline(own, color="grey", linewidth=1, linestyle="--", label="his own module")
    left.set_title("mean over speakers, 95 % interval over seeds", fontsize="small")
    for number, speaker in enumerate(runs[0]):
        found = [run[speaker] for run in runs]
        curve = [float(np.mean([f["none"] for f in found]))]
        curve += np.mean([f["expert"] for f in found], axis=0).tolist()
        right.plot(places, curve, "o-", color=COLOURS[number], markersize=4, label=speaker)
    right.set_title("each speaker, gate and new expert", fontsize="small")
    for axes in (left, right):
        axes.set_xticks(places, ["0", *map(str, SIZES)])
        axes.set_xlabel("tokens of each phoneme heard")
        axes.set_ylabel("error, %")
        axes.set_ylim(0)
        axes.legend(frameon=False, fontsize="small")
        axes.spines[["top", "right"]].set_visible(False)
    return save(figure, folder, name, "Error by tokens heard of a new speaker")
