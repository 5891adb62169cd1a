"""Errors on other speakers beside the published ones; and which expert each speaker has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe.reproductions.nowlan_hinton_1991.findings import errors
from phoneme_moe.reproductions.nowlan_hinton_1991.jobs import job_key
from phoneme_moe.reproductions.nowlan_hinton_1991.published import GROUPS, TESTING
from phoneme_moe.reproductions.nowlan_hinton_1991.tokens import SIDES, tokens
from phoneme_moe.reproductions.statistics import estimate


def draw(results: Mapping[str, Any], folder: Path) -> list[str]:
    """Errors on other speakers beside the published ones; and which expert each speaker has."""
    from matplotlib.figure import Figure

    from phoneme_moe.reproductions.figures import save

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_errors(left, results)
    _draw_speakers(right, results)
    return save(
        figure, folder, "nowlan_hinton_1991", "Errors on other speakers, and experts of speakers"
    )


def _draw_errors(axes: Any, results: Mapping[str, Any]) -> None:
    from phoneme_moe.reproductions.figures import COLOURS

    named = {"mixture": "mixture", "net": "net", "net, 1991": "net in the manner of 1991"}
    for number, (name, title) in enumerate(named.items()):
        colour, shift = COLOURS[number], 0.24 * (number - 1)
        for place, side in enumerate(SIDES):
            own = errors(results, name, side, 4)
            if own is not None:
                found = estimate(own)
                axes.errorbar(
                    found.mean, place + shift, fmt="o", color=colour, markersize=5,
                    xerr=[[found.mean - found.low], [found.high - found.mean]],
                )  # fmt: skip
            if name in TESTING and side in TESTING[name]:
                published = TESTING[name][side]
                axes.errorbar(
                    published.mean, place + shift + 0.09, xerr=published.half, fmt="D",
                    color=colour, markerfacecolor="white", markersize=5,
                )  # fmt: skip
        axes.plot([], [], "o", color=colour, label=title)
    references = [
        (float(np.mean(results["references"][side])), place)
        for place, side in enumerate(SIDES)
        if side in results["references"]
    ]
    axes.plot(*zip(*references, strict=True), "x", color="black", label="Gaussians by cluster")
    axes.plot([], [], "D", color="grey", markerfacecolor="white", label="published in 1991")
    axes.set_yticks(range(len(SIDES)), list(SIDES.values()))
    axes.invert_yaxis()
    axes.set_xlim(0)
    axes.set_xlabel("error on other speakers, per cent")
    axes.legend(
        frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.13), ncol=2
    )
    axes.spines[["top", "right"]].set_visible(False)


def _draw_speakers(axes: Any, results: Mapping[str, Any]) -> None:
    """The number of each speaker's expert, where his mean formants are."""
    from phoneme_moe.reproductions.figures import COLOURS

    found = results[job_key("mixture", "speaker", 2)]
    experts = found["experts"][int(np.argmin(found["train"]))]
    cases = tokens()
    centres = cases.side("mean").numpy()
    for number, (letter, (name, _)) in enumerate(GROUPS.items()):
        for speaker in np.flatnonzero(cases.group == letter):
            f1, f2 = centres[cases.introduction[speaker, 0]]
            axes.text(
                f1, f2, str(experts[speaker]), color=COLOURS[number], ha="center", va="center"
            )
        axes.plot([], [], "s", color=COLOURS[number], label=name)
    margin = 0.05 * np.ptp(centres, axis=0)
    axes.set_xlim(centres[:, 0].min() - margin[0], centres[:, 0].max() + margin[0])
    axes.set_ylim(centres[:, 1].min() - margin[1], centres[:, 1].max() + margin[1])
    axes.set_xlabel("mean F1 of the speaker, kHz")
    axes.set_ylabel("mean F2, kHz")
    axes.legend(frameon=False, fontsize="small", loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("number of each speaker's expert (speaker ID, best run)", fontsize="small")
