"""How error falls with what is heard of a new speaker, and what the old ones pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.reproductions.experiment import Cell, Claim, Outcome, Table
from phoneme_moe.reproductions.novel_speaker.systems import SIZES
from phoneme_moe.reproductions.statistics import estimate, paired_t_test

PAPER_SIZE = 5
"""Tokens of each phoneme in the paper."""

Runs = Sequence[Mapping[str, Mapping[str, Any]]]
"""What ``adapt_to_all`` gave, in order of seeds."""


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    runs = list(results.values())
    return Outcome((_curve(runs), _speakers(runs)), tuple(_claims(runs)))


def by_seed(runs: Runs, key: str, size: int | None = None) -> list[float]:
    """Mean over speakers of an error, for each seed.

    Args:
        runs: Results.
        key: Of ``adapt_to_all``.
        size: Tokens of each phoneme, for an error that hangs on them.
    """

    def value(found: Mapping[str, Any]) -> float:
        return float(found[key] if size is None else found[key][SIZES.index(size)])

    return [float(np.mean([value(found) for found in run.values()])) for run in runs]


def _curve(runs: Runs) -> Table:
    rows: list[tuple[Cell, ...]] = [
        ("0", estimate(by_seed(runs, "none")), None, estimate(by_seed(runs, "old")), None)
    ]
    for size in SIZES:
        columns = ("gate", "expert", "old_gate", "old_expert")
        rows.append((str(size), *(estimate(by_seed(runs, key, size)) for key in columns)))
    rows.append(("all: his own module", None, estimate(by_seed(runs, "own")), None, None))
    return Table(
        "curve",
        "Error by tokens of each phoneme heard of the new speaker, mean over speakers left out in "
        "turn, per cent",
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
        found = [run[speaker] for run in runs]
        sources = sorted({f["source"] for f in found})
        rows.append(
            (
                speaker,
                estimate([f["none"] for f in found]),
                estimate([f["gate"][place] for f in found]),
                estimate([f["expert"][place] for f in found]),
                estimate([f["own"] for f in found]),
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
            "his own module, all his tokens",
            "his expert began as",
        ),
        tuple(rows),
    )


def _claims(runs: Runs) -> list[Claim]:
    claims = []
    none, own = by_seed(runs, "none"), by_seed(runs, "own")
    for key, name in (("gate", "the gate alone"), ("expert", "the gate and a new expert")):
        adapted = by_seed(runs, key, PAPER_SIZE)
        figures = f"{np.mean(none):.1f} to {np.mean(adapted):.1f} % error"
        if len(runs) > 1:
            test = paired_t_test(none, adapted)
            claims.append(
                Claim(
                    f"{PAPER_SIZE} tokens of each phoneme are enough to adapt {name}: less error "
                    "than without (mean over speakers, paired t-test over seeds, p < 0.05).",
                    "it adapts; the rate is not known",
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
    closed = 100 * (np.mean(none) - last) / (np.mean(none) - np.mean(own))
    claims.append(
        Claim(
            f"{SIZES[-1]} tokens of each phoneme close at least half of the gap to his own module.",
            "not known",
            f"{closed:.0f} % of it: {last:.1f} % error, his own module {np.mean(own):.1f} %",
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
                f"The old speakers lose at most half a point when {name} to {PAPER_SIZE} tokens.",
                "not known",
                f"{before:.2f} to {after:.2f} % error",
                bool(after - before <= 0.5),
            )
        )
    return claims
