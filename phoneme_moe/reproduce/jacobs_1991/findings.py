"""Table 1 of 1991 with ours beside it, and what the paper says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from phoneme_moe.reproduce.experiment import Claim, Outcome, Table
from phoneme_moe.reproduce.jacobs_1991.systems import LONGEST, plan
from phoneme_moe.reproduce.statistics import Estimate, estimate, pooled_t_test

PUBLISHED = {
    "4 experts": (88, 90, 1124, 23),
    "8 experts": (88, 90, 1083, 12),
    "BP 6 hidden": (88, 90, 2209, 83),
    "BP 12 hidden": (88, 90, 2435, 124),
}
"""Train and test per cent, epochs and their standard deviation."""


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Table 1 with ours beside it, and what the paper says of it."""
    keys = {job.settings["system"]: job.key for job in plan(1, False)}
    by_system = {name: results[key] for name, key in keys.items()}
    arrived = {name: [r for r in found["runs"] if r] for name, found in by_system.items()}

    def figure(name: str, key: str) -> Estimate | None:
        return estimate([r[key] for r in arrived[name]]) if arrived[name] else None

    rows = []
    for name, found in by_system.items():
        train, test, epochs, sd = PUBLISHED.get(name, (None,) * 4)
        own_epochs = figure(name, "epochs")
        rows.append(
            (
                name,
                train,
                figure(name, "train"),
                test,
                figure(name, "test"),
                epochs,
                own_epochs,
                sd,
                None if own_epochs is None else own_epochs.sd,
                figure(name, "in_use") if "experts" in name else None,
                figure(name, "per_case") if "experts" in name else None,
                f"{found['step_size']:g}",
                f"{len(arrived[name])}/{len(found['runs'])}",
            )
        )
    table = Table(
        "table_1",
        "Table 1: until the average squared error over the training set is 0.08",
        (
            "system",
            "train %, 1991",
            "train %",
            "test %, 1991",
            "test %",
            "epochs, 1991",
            "epochs",
            "s.d., 1991",
            "s.d.",
            "experts in use",
            "experts a case",
            "step size",
            "arrived",
        ),
        tuple(rows),
    )
    return Outcome((table,), tuple(_claims(by_system, arrived)))


def _claims(by_system: Mapping[str, Any], arrived: Mapping[str, list[Any]]) -> list[Claim]:
    def epochs(name: str) -> list[float]:
        # A run that never arrived took at least as long as the longest.
        return [r["epochs"] if r else LONGEST for r in by_system[name]["runs"]]

    def mean(name: str) -> float:
        return float(np.mean(epochs(name)))

    claims = []
    slow, fast = ("BP 6 hidden", "BP 12 hidden"), ("4 experts", "8 experts")
    ratio = np.mean([mean(n) for n in slow]) / np.mean([mean(n) for n in fast])
    claims.append(
        Claim(
            "Backpropagation needs at least twice the epochs of the mixtures (mean of both sizes).",
            "2.1 times",
            f"{ratio:.2f} times",
            bool(ratio >= 2),
        )
    )
    if len(epochs(slow[0])) > 1:
        worst = max(
            (pooled_t_test(epochs(s), epochs(f)) for s in slow for f in fast), key=lambda t: -t.t
        )
        claims.append(
            Claim(
                "Each mixture is faster than each net (pooled t-test, p < 0.001).",
                "p < 0.001, 48 d.f.",
                f"least difference: t = {worst.t:.1f}, {worst.degrees} d.f., p = {worst.p:.2g}",
                worst.t > 0 and worst.p < 0.001,
            )
        )
        for first, second, text, published in (
            ("8 experts", "4 experts", "Eight experts are faster than four", "p < 0.05"),
            ("BP 6 hidden", "BP 12 hidden", "6 hidden units are faster than 12", "p < 0.05"),
        ):
            test = pooled_t_test(epochs(second), epochs(first))
            claims.append(
                Claim(
                    f"{text} (pooled t-test, p < 0.05).",
                    published,
                    f"{mean(first):.0f} against {mean(second):.0f} epochs, t = {test.t:.1f}, "
                    f"p = {test.p:.2g}",
                    test.t > 0 and test.p < 0.05,
                )
            )
    tests = {n: np.mean([r["test"] for r in arrived[n]]) for n in (*fast, *slow) if arrived[n]}
    if len(tests) == 4:
        spread = max(tests.values()) - min(tests.values())
        claims.append(
            Claim(
                "All four are equally good on test speakers (means within 3 points).",
                "90 % each",
                f"{min(tests.values()):.1f} to {max(tests.values()):.1f} %",
                bool(spread <= 3),
            )
        )
    used = [r["in_use"] for n in fast for r in arrived[n]]
    if used:
        few = sum(1 for u in used if u <= 3) / len(used)
        claims.append(
            Claim(
                "All but 2 or 3 experts end up unused (in every run).",
                "all runs",
                f"{100 * few:.0f} % of runs; {min(used)} to {max(used)} in use",
                few == 1,
            )
        )
    cooperative, competitive = arrived["4 experts, eq. 1"], arrived["4 experts"]
    if cooperative and competitive:
        blend = np.mean([r["per_case"] for r in cooperative])
        compete = np.mean([r["per_case"] for r in competitive])
        claims.append(
            Claim(
                "Trained on the error of the blend (eq. 1) more experts share a case than in "
                "competition (eq. 3).",
                "many experts for each case",
                f"{blend:.2f} against {compete:.2f} experts a case",
                bool(blend > compete),
            )
        )
    return claims
