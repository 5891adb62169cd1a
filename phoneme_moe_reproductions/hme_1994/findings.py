"""Trees of each size by EM and by gradient, fixed and grown, and pruned: tables and figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe_reproductions.figures import COLOURS, save, two_panels
from phoneme_moe_reproductions.hme_1994.claims import (
    METHODS,
    Runs,
    by_system,
    claims,
    differences,
    iterations_to_common_level,
    mean_of,
    system_name,
)
from phoneme_moe_reproductions.hme_1994.systems import GROWN_LEAVES, LEAVES, PRIORS, PRUNED, SYSTEMS
from phoneme_moe_reproductions.results import Cell, Outcome, Table
from phoneme_moe_reproductions.statistics import estimate
from phoneme_moe_reproductions.vowels import FEATURES


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    runs = by_system(results)
    return Outcome((_sizes(runs), _growing(runs), _pruning(runs)), tuple(claims(runs)))


def _sizes(runs: Runs) -> Table:
    rows = []
    for leaves in LEAVES:
        for method, title in METHODS.items():
            name = f"{method}_{leaves}"
            if name not in runs:
                continue
            ours, theirs = (
                iterations_to_common_level(runs, method, leaves) if method != "em" else ([], [])
            )
            rows.append(
                (
                    leaves,
                    title,
                    mean_of(runs, name, "test"),
                    mean_of(runs, name, "test_end"),
                    mean_of(runs, name, "train_likelihood"),
                    len(runs[name][0]["curve"]),
                    mean_of(runs, name, "stopped_at"),
                    estimate(theirs) if theirs else None,
                    estimate(ours) if ours else None,
                    mean_of(runs, name, "effective"),
                    mean_of(runs, name, "in_use"),
                )
            )
    return Table(
        "sizes",
        "Binary trees of each size on F0-F3, without a prior (maximum likelihood)",
        (
            "leaves",
            "method",
            "test %, stopped by dev",
            "test %, at the end",
            "train log likelihood per token, at the end",
            "iterations done",
            "iteration chosen on dev",
            "epochs to the common level",
            "EM iterations to that level",
            "effective experts",
            "experts in use",
        ),
        tuple(rows),
        digits=2,
    )


def _growing(runs: Runs) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for features in FEATURES:
        for prior in PRIORS:
            for kind, title in (
                ("one", "one leaf"),
                ("fixed", f"fixed, {GROWN_LEAVES} leaves"),
                ("grown", f"grown to {GROWN_LEAVES}"),
            ):
                name, fixed = (
                    system_name(kind, features, prior),
                    system_name("fixed", features, prior),
                )
                rows.append(
                    (
                        features,
                        f"{prior:g}",
                        title,
                        mean_of(runs, name, "test"),
                        mean_of(runs, name, "test_end"),
                        differences(runs, name, fixed, "test_end") if kind == "grown" else None,
                        1.6 if kind == "grown" and features == "F0-F3" else None,
                        mean_of(runs, name, "dev_end"),
                        mean_of(runs, name, "effective"),
                        mean_of(runs, name, "in_use"),
                    )
                )
    return Table(
        "growing",
        "Grown by splitting the worst expert, against as many leaves from the start; EM",
        (
            "features",
            "prior",
            "tree",
            "test %, stopped by dev",
            "test %, at the end",
            "gain over fixed, at the end",
            "gain, 1997",
            "dev log likelihood per token, at the end",
            "effective experts",
            "experts in use",
        ),
        tuple(rows),
        digits=2,
    )


def _pruning(runs: Runs) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in PRUNED:
        system = SYSTEMS[name]
        title = f"{system.leaves} leaves, prior {system.prior:g}"
        rows.append((title, "-", system.leaves, mean_of(runs, name, "test_end"), None, None))
        for number in range(len(runs[name][0]["pruned"])):
            entries = [r["pruned"][number] for r in runs[name]]
            rows.append(
                (
                    title,
                    f"{entries[0]['threshold']:g}",
                    *(
                        estimate([e[key] for e in entries])
                        for key in ("paths", "accuracy", "leaves", "tree")
                    ),
                )
            )
    return Table(
        "pruning",
        "Pruned trees at the end of EM: paths below a threshold, token by token, and leaves whose "
        "mean weight is below it, permanently",
        (
            "tree",
            "threshold (log)",
            "paths per token",
            "test %",
            "leaves left",
            "test % of the pruned tree",
        ),
        tuple(rows),
        digits=2,
    )


def draw(results: Mapping[str, Any], folder: Path) -> list[str]:
    """Likelihood by iteration; and the number of experts in use at the end of training."""
    runs = by_system(results)
    figure, left, right = two_panels(9, 3.9)
    for colour, (method, title) in zip(COLOURS, METHODS.items(), strict=False):
        for number, result in enumerate(runs[f"{method}_{GROWN_LEAVES}"]):
            left.plot(
                range(1, len(result["curve"]) + 1), result["curve"], color=colour, linewidth=1,
                alpha=0.7, label=title if number == 0 else None,
            )  # fmt: skip
    left.set_xscale("log")
    left.set_ylim(-2.4, 0)
    left.set_xlabel("iteration (EM) or epoch (gradient)")
    left.set_ylabel("log likelihood per training token, nats")
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
    return save(figure, folder, "hme_1994", "Likelihood by iteration, and experts in use by prior")
