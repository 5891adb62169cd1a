"""Error of a new speaker by the number of adaptation tokens, and its cost to the old speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe_reproductions.figures import COLOURS, save, two_panels
from phoneme_moe_reproductions.novel_speaker.systems import SIZES
from phoneme_moe_reproductions.results import Cell, Claim, Outcome, Table
from phoneme_moe_reproductions.statistics import estimate, paired_t_test

PAPER_SIZE = 5
"""Tokens of each phoneme in the paper."""

Runs = Sequence[Mapping[str, Mapping[str, Any]]]
"""Results of ``adapt_to_all``, in order of seeds."""


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    runs = list(results.values())
    return Outcome((_curve(runs), _speakers(runs)), tuple(_claims(runs)))


def by_seed(runs: Runs, key: str, size: int | None = None) -> list[float]:
    """Mean over speakers of an error, for each seed.

    Args:
        runs: Results.
        key: Of ``adapt_to_all``.
        size: Adaptation tokens of each phoneme, for an error that depends on them.
    """

    def value(result: Mapping[str, Any]) -> float:
        return float(result[key] if size is None else result[key][SIZES.index(size)])

    return [float(np.mean([value(result) for result in run.values()])) for run in runs]


def _curve(runs: Runs) -> Table:
    rows: list[tuple[Cell, ...]] = [
        ("0", estimate(by_seed(runs, "none")), None, estimate(by_seed(runs, "old")), None)
    ]
    for size in SIZES:
        columns = ("gate", "expert", "old_gate", "old_expert")
        rows.append((str(size), *(estimate(by_seed(runs, key, size)) for key in columns)))
    rows.append(("all: own module", None, estimate(by_seed(runs, "own")), None, None))
    return Table(
        "curve",
        "Error by adaptation tokens of each phoneme, mean over speakers left out in turn, per cent",
        (
            "tokens",
            "new speaker, gate adapted",
            "new speaker, gate and new expert",
            "old speakers, gate adapted",
            "old speakers, gate and new expert",
        ),
        tuple(rows),
    )


def _speakers(runs: Runs) -> Table:
    place = SIZES.index(PAPER_SIZE)
    rows: list[tuple[Cell, ...]] = []
    for speaker in runs[0]:
        results = [run[speaker] for run in runs]
        sources = sorted({r["source"] for r in results})
        rows.append(
            (
                speaker,
                estimate([r["none"] for r in results]),
                estimate([r["gate"][place] for r in results]),
                estimate([r["expert"][place] for r in results]),
                estimate([r["own"] for r in results]),
                ", ".join(sources),
            )
        )
    return Table(
        "speakers",
        f"Each speaker as the new one, {PAPER_SIZE} tokens of each phoneme: error, per cent",
        (
            "new speaker",
            "not adapted",
            "gate adapted",
            "gate and new expert",
            "own module, all tokens",
            "source of the new expert",
        ),
        tuple(rows),
    )


def _claims(runs: Runs) -> list[Claim]:
    claims = []
    none, matched = by_seed(runs, "none"), by_seed(runs, "own")
    for key, name in (("gate", "the gate alone"), ("expert", "the gate and a new expert")):
        adapted = by_seed(runs, key, PAPER_SIZE)
        figures = f"{np.mean(none):.1f} to {np.mean(adapted):.1f} % error"
        if len(runs) > 1:
            test = paired_t_test(none, adapted)
            claims.append(
                Claim(
                    f"{PAPER_SIZE} tokens of each phoneme are enough to adapt {name}: less error "
                    "than without (mean over speakers, paired t-test over seeds, p < 0.05).",
                    "it adapts; the accuracy is not known",
                    f"{figures}, p = {test.p:.2g}",
                    test.t > 0 and test.p < 0.05,
                )
            )
    for size in (PAPER_SIZE, SIZES[-1]):
        gate, expert = by_seed(runs, "gate", size), by_seed(runs, "expert", size)
        claims.append(
            Claim(
                f"With {size} tokens of each phoneme a new expert is better than the gate alone "
                "(means).",
                "spawning new modules was proposed, not tried",
                f"{np.mean(expert):.1f} against {np.mean(gate):.1f} % error",
                bool(np.mean(expert) < np.mean(gate)),
            )
        )
    last = np.mean(by_seed(runs, "expert", SIZES[-1]))
    closed = 100 * (np.mean(none) - last) / (np.mean(none) - np.mean(matched))
    claims.append(
        Claim(
            f"{SIZES[-1]} tokens of each phoneme close at least half of the gap to the own module.",
            "not known",
            f"{closed:.0f} % of it: {last:.1f} % error, own module {np.mean(matched):.1f} %",
            bool(closed >= 50),
        )
    )
    before = np.mean(by_seed(runs, "old"))
    for key, name in (
        ("old_gate", "the gate alone adapts"),
        ("old_expert", "the gate and a new expert adapt"),
    ):
        after = np.mean(by_seed(runs, key, PAPER_SIZE))
        claims.append(
            Claim(
                f"The old speakers' error rises by at most half a point when {name} to "
                f"{PAPER_SIZE} tokens.",
                "not known",
                f"{before:.2f} to {after:.2f} % error",
                bool(after - before <= 0.5),
            )
        )
    return claims


KINDS = {"gate": "gate adapted", "expert": "gate and new expert"}


def draw(results: Mapping[str, Any], folder: Path, name: str = "novel_speaker") -> list[str]:
    """Error over the number of adaptation tokens: the mean over speakers, and every speaker."""
    runs = list(results.values())
    figure, left, right = two_panels(10, 4)
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
    matched = float(np.mean(by_seed(runs, "own")))
    left.axhline(matched, color="grey", linewidth=1, linestyle="--", label="own module")
    left.set_title("mean over speakers, 95 % interval over seeds", fontsize="small")
    for number, speaker in enumerate(runs[0]):
        adapted = [run[speaker] for run in runs]
        curve = [float(np.mean([r["none"] for r in adapted]))]
        curve += np.mean([r["expert"] for r in adapted], axis=0).tolist()
        right.plot(places, curve, "o-", color=COLOURS[number], markersize=4, label=speaker)
    right.set_title("each speaker, gate and new expert", fontsize="small")
    for axes in (left, right):
        axes.set_xticks(places, ["0", *map(str, SIZES)])
        axes.set_xlabel("adaptation tokens of each phoneme")
        axes.set_ylabel("error, %")
        axes.set_ylim(0)
        axes.legend(frameon=False, fontsize="small")
    return save(figure, folder, name, "Error by adaptation tokens of a new speaker")
