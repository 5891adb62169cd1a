"""Tables 2, 3 and 4 of 1991 beside ours, and the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe_reproductions.figures import COLOURS, save, two_panels
from phoneme_moe_reproductions.nowlan_hinton_1991.claims import (
    GROUPS,
    TESTING,
    TRAINING,
    Published,
    claims,
    commonest_expert_shares,
    errors,
)
from phoneme_moe_reproductions.nowlan_hinton_1991.jobs import CLUSTERS, job_key
from phoneme_moe_reproductions.nowlan_hinton_1991.systems import SYSTEMS
from phoneme_moe_reproductions.nowlan_hinton_1991.tokens import SIDES, tokens
from phoneme_moe_reproductions.results import Cell, Outcome, Table
from phoneme_moe_reproductions.statistics import Estimate, estimate


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    tables = _training(results), _groups(results), _testing(results)
    return Outcome(tables, tuple(claims(results)))


def _cell(values: Sequence[float] | None) -> Estimate | None:
    return None if values is None else estimate(values)


def _text(published: Published | None) -> Cell:
    return None if published is None else str(published)


def _training(results: Mapping[str, Any]) -> Table:
    rows = [
        (
            title,
            str(TRAINING["mixture"][side]),
            _cell(errors(results, "mixture", side, 2)),
            str(TRAINING["net"][side]),
            _cell(errors(results, "net", side, 2)),
            *(_cell(errors(results, n, side, 2)) for n in SYSTEMS if n not in TRAINING),
        )
        for side, title in SIDES.items()
    ]
    return Table(
        "table_2",
        "Table 2: error on training tokens, all 75 speakers, in per cent",
        (
            "side input",
            "mixture, 1991",
            "mixture",
            "net, 1991",
            "net",
            "net in the manner of 1991",
            "mixture, sigma 0.25 throughout",
            "mixture, inputs in kHz",
        ),
        tuple(rows),
    )


def _groups(results: Mapping[str, Any]) -> Table:
    result = results[job_key("mixture", "speaker", 2)]
    by_group = commonest_expert_shares(result["experts"])
    best = int(np.argmin(result["train"]))
    rows = [
        (name, published, estimate(by_group[letter]), by_group[letter][best])
        for letter, (name, published) in GROUPS.items()
    ]
    return Table(
        "table_3",
        "Table 3: speakers of a group that have its commonest expert, in per cent; the gate sees "
        "the speaker's identity",
        ("group", "1991", "all runs", "the run with the least error"),
        tuple(rows),
    )


def _testing(results: Mapping[str, Any]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for side, title in SIDES.items():
        row: list[Cell] = [title]
        for name in TESTING:
            result = results.get(job_key(name, side, 4))
            row += [
                _text(TESTING[name].get(side)),
                *(_cell(result and result[key]) for key in ("test", "test_end", "train")),
                None if result is None else float(np.mean(result["iterations"])),
            ]
        row += [
            _cell(errors(results, "net, 1991", side, 4)),
            _cell(results["references"].get(side)),
        ]
        rows.append(tuple(row))
    columns = [
        column
        for name in TESTING
        for column in (
            f"{name}, 1991",
            name,
            f"{name}, at the end",
            f"{name}, on training speakers",
            f"{name}, iterations",
        )
    ]
    return Table(
        "table_4",
        "Table 4: error on 10 unseen speakers (with speaker ID: 5), in per cent",
        (
            "side input",
            *columns,
            "net in the manner of 1991",
            f"Gaussians in {CLUSTERS} clusters of speakers (Form: in one)",
        ),
        tuple(rows),
    )


def draw(results: Mapping[str, Any], folder: Path) -> list[str]:
    """Errors on unseen speakers beside the published ones; and each speaker's expert."""
    figure, left, right = two_panels(9.5, 4.2)
    _draw_errors(left, results)
    _draw_speakers(right, results)
    return save(
        figure, folder, "nowlan_hinton_1991", "Errors on unseen speakers, and experts of speakers"
    )


def _draw_errors(axes: Any, results: Mapping[str, Any]) -> None:
    named = {"mixture": "mixture", "net": "net", "net, 1991": "net in the manner of 1991"}
    for number, (name, title) in enumerate(named.items()):
        colour, shift = COLOURS[number], 0.24 * (number - 1)
        for place, side in enumerate(SIDES):
            runs = errors(results, name, side, 4)
            if runs is not None:
                error = estimate(runs)
                axes.errorbar(
                    error.mean, place + shift, fmt="o", color=colour, markersize=5,
                    xerr=[[error.mean - error.low], [error.high - error.mean]],
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
    axes.set_xlabel("error on unseen speakers, per cent")
    axes.legend(
        frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.13), ncol=2
    )


def _draw_speakers(axes: Any, results: Mapping[str, Any]) -> None:
    """The number of each speaker's expert, where his mean formants are."""
    result = results[job_key("mixture", "speaker", 2)]
    experts = result["experts"][int(np.argmin(result["train"]))]
    cases = tokens()
    centres = cases.side("mean").numpy()
    for number, (letter, (name, _)) in enumerate(GROUPS.items()):
        for speaker in np.flatnonzero(cases.group == letter):
            f1, f2 = centres[cases.enrolment[speaker, 0]]
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
    axes.set_title("number of each speaker's expert (speaker ID, best run)", fontsize="small")
