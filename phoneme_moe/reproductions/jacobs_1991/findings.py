"""Table 1 of 1991 with ours beside it, and what the paper says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from phoneme_moe.reproductions.experiment import Claim, Outcome, Table
from phoneme_moe.reproductions.jacobs_1991.systems import (
    INITIAL_RANGES,
    SMALL_TOO,
    SYSTEMS,
    job_key,
)
from phoneme_moe.reproductions.statistics import Estimate, estimate, pooled_t_test

PUBLISHED = {
    "4 experts": (88, 90, 1124, 23),
    "8 experts": (88, 90, 1083, 12),
    "BP 6 hidden": (88, 90, 2209, 83),
    "BP 12 hidden": (88, 90, 2435, 124),
}
"""Train and test per cent, epochs and their standard deviation."""


USUAL, SMALL = INITIAL_RANGES


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Table 1 with ours beside it, and what the paper says of it."""
    usual = {name: results[job_key(name, USUAL)] for name in SYSTEMS}
    small = {name: results[job_key(name, SMALL)] for name in SMALL_TOO}
    tables = (
        _table("table_1", "until the average squared error over the training set is 0.08", usual),
        _table("small_weights", f"the same from weights within {SMALL:g} of 0", small),
    )
    claims = _claims(usual)
    small_claims = [
        replace(claim, statement=f"From small weights (within {SMALL:g}): {claim.statement}")
        for claim in _speed_claims(small)
    ]
    return Outcome(tables, (*claims, *small_claims))


def arrived_runs(found: Mapping[str, Any]) -> list[Any]:
    """The runs of a system that got to the error asked for."""
    return [run for run in found["runs"] if run]


def _table(name: str, title: str, by_system: Mapping[str, Any]) -> Table:
    rows = []
    for system, found in by_system.items():
        arrived = arrived_runs(found)

        def figure(key: str, arrived: list[Any] = arrived) -> Estimate | None:
            return estimate([r[key] for r in arrived]) if arrived else None

        train, test, epochs, sd = PUBLISHED.get(system, (None,) * 4)
        own_epochs = figure("epochs")
        rows.append(
            (
                system,
                train,
                figure("train"),
                test,
                figure("test"),
                epochs,
                own_epochs,
                sd,
                None if own_epochs is None else own_epochs.sd,
                figure("in_use") if "experts" in system else None,
                figure("per_case") if "experts" in system else None,
                f"{found['step_size']:g}",
                f"{len(arrived)}/{len(found['runs'])}",
            )
        )
    return Table(
        name,
        f"Table 1: {title}",
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


SLOW, FAST = ("BP 6 hidden", "BP 12 hidden"), ("4 experts", "8 experts")


def _epochs(by_system: Mapping[str, Any], name: str) -> list[float]:
    """Of every run; one that never arrived took at least as long as the longest."""
    found = by_system[name]
    return [r["epochs"] if r else found["longest"] for r in found["runs"]]


def _mean(by_system: Mapping[str, Any], name: str) -> float:
    return float(np.mean(_epochs(by_system, name)))


def _speed_claims(by_system: Mapping[str, Any]) -> list[Claim]:
    slow, fast = (np.mean([_mean(by_system, n) for n in names]) for names in (SLOW, FAST))
    claims = [
        Claim(
            "Backpropagation needs at least twice the epochs of the mixtures (mean of both sizes).",
            "2.1 times",
            f"{slow / fast:.2f} times",
            bool(slow / fast >= 2),
        )
    ]
    if len(by_system[SLOW[0]]["runs"]) > 1:
        worst = max(
            (
                pooled_t_test(_epochs(by_system, s), _epochs(by_system, f))
                for s in SLOW
                for f in FAST
            ),
            key=lambda t: -t.t,
        )
        claims.append(
            Claim(
                "Each mixture is faster than each net (pooled t-test, p < 0.001).",
                "p < 0.001, 48 d.f.",
                f"least difference: t = {worst.t:.1f}, {worst.degrees} d.f., p = {worst.p:.2g}",
                worst.t > 0 and worst.p < 0.001,
            )
        )
    return claims


def _claims(by_system: Mapping[str, Any]) -> list[Claim]:
    arrived = {name: arrived_runs(found) for name, found in by_system.items()}
    slow, fast = SLOW, FAST
    claims = _speed_claims(by_system)
    if len(by_system[slow[0]]["runs"]) > 1:
        for first, second, text, published in (
            ("8 experts", "4 experts", "Eight experts are faster than four", "p < 0.05"),
            ("BP 6 hidden", "BP 12 hidden", "6 hidden units are faster than 12", "p < 0.05"),
        ):
            test = pooled_t_test(_epochs(by_system, second), _epochs(by_system, first))
            claims.append(
                Claim(
                    f"{text} (pooled t-test, p < 0.05).",
                    published,
                    f"{_mean(by_system, first):.0f} against {_mean(by_system, second):.0f} epochs, "
                    f"t = {test.t:.1f}, "
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
