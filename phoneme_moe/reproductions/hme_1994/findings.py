"""What trees of each size reach, by EM and by gradient; fixed and grown; and pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.reproductions.experiment import Cell, Claim, Outcome, Table
from phoneme_moe.reproductions.hme_1994.systems import GROWN_LEAVES, LEAVES, PRIORS, PRUNED, SYSTEMS
from phoneme_moe.reproductions.statistics import Estimate, estimate
from phoneme_moe.reproductions.vowels import FEATURES

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""The results of every system, in order of seeds."""

WITHIN = 0.01
"""Nats per token below the level that both methods reach."""

METHODS = {"em": "EM", "rprop": "gradient, Rprop", "descent": "gradient descent"}


def by_system(results: Mapping[str, Any]) -> Runs:
    """Sorts the jobs' results by system."""
    count = len(results) // len(SYSTEMS)
    return {name: [results[f"{name}_seed_{s}"] for s in range(count)] for name in SYSTEMS}


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    runs = by_system(results)
    return Outcome((_sizes(runs), _growing(runs), _pruning(runs)), tuple(_claims(runs)))


def mean_of(runs: Runs, system: str, key: str) -> Estimate:
    """Of a figure over the seeds."""
    return estimate([r[key] for r in runs[system]])


def race(runs: Runs, method: str, leaves: int) -> tuple[list[int], list[int]]:
    """Iterations of EM and of a gradient method until they are equally far.

    For each seed the level is the lower of the two last likelihoods, less ``WITHIN``.

    Returns:
        Those of EM and those of the gradient method, one for each seed.
    """
    needed: tuple[list[int], list[int]] = ([], [])
    for pair in zip(runs[f"em_{leaves}"], runs[f"{method}_{leaves}"], strict=True):
        level = min(max(r["curve"]) for r in pair) - WITHIN
        for counts, found in zip(needed, pair, strict=True):
            counts.append(next(i for i, value in enumerate(found["curve"]) if value >= level))
    return needed


def _sizes(runs: Runs) -> Table:
    rows = []
    for leaves in LEAVES:
        for method, title in METHODS.items():
            name = f"{method}_{leaves}"
            if name not in runs:
                continue
            ours, theirs = race(runs, method, leaves) if method != "em" else ([], [])
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
            "train log likelihood a token, at the end",
            "iterations done",
            "iteration that dev chose",
            "epochs to the common level",
            "EM's iterations to that level",
            "effective experts",
            "experts in use",
        ),
        tuple(rows),
        digits=2,
    )


def _named(kind: str, features: str, prior: float) -> str:
    return f"{kind}_{features.replace(' ', '')}_{prior:g}"


def _differences(runs: Runs, first: str, second: str, key: str) -> Estimate:
    """First less second, seed by seed: both have the same speakers."""
    return estimate([a[key] - b[key] for a, b in zip(runs[first], runs[second], strict=True)])


def _growing(runs: Runs) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for features in FEATURES:
        for prior in PRIORS:
            for kind, title in (
                ("one", "one leaf"),
                ("fixed", f"fixed, {GROWN_LEAVES} leaves"),
                ("grown", f"grown to {GROWN_LEAVES}"),
            ):
                name, fixed = _named(kind, features, prior), _named("fixed", features, prior)
                rows.append(
                    (
                        features,
                        f"{prior:g}",
                        title,
                        mean_of(runs, name, "test"),
                        mean_of(runs, name, "test_end"),
                        _differences(runs, name, fixed, "test_end") if kind == "grown" else None,
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
            "dev log likelihood a token, at the end",
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
        "mean weight is below it, for good",
        (
            "tree",
            "threshold (log)",
            "paths followed a token",
            "test %",
            "leaves left",
            "test % of the tree that is left",
        ),
        tuple(rows),
        digits=2,
    )


def _signed(found: Estimate) -> str:
    return f"{found.mean:+.2f} points ({found.low:+.2f} to {found.high:+.2f})"


def _claims(runs: Runs) -> list[Claim]:
    climbing = [r for name, system in SYSTEMS.items() if system.method == "em" for r in runs[name]]
    falls, steps = sum(r["falls"] for r in climbing), sum(len(r["curve"]) for r in climbing)
    claims = [
        Claim(
            "EM never lowers the likelihood of the training tokens (no iteration of any run; with "
            "a prior, the likelihood times the prior).",
            "a property of EM",
            f"{falls} falls in {steps:,} iterations",
            falls == 0,
        )
    ]
    for method, title in (("descent", "gradient descent"), ("rprop", "Rprop")):
        sizes = [n for n in LEAVES if n > 1 and f"{method}_{n}" in runs]
        counts = [race(runs, method, n) for n in sizes]
        ours, theirs = (float(np.mean([np.mean(c[i]) for c in counts])) for i in (0, 1))
        claims.append(
            Claim(
                f"To the same likelihood EM needs at most a tenth of the epochs of {title} (mean "
                f"of {', '.join(map(str, sizes))} leaves). The paper's figure is of another task, "
                "a robot arm, against a net by backpropagation.",
                "35 against 5,500: 157 times fewer",
                f"{ours:.1f} against {theirs:.0f}: {theirs / ours:.0f} times fewer",
                ours <= theirs / 10,
            )
        )
    for features in FEATURES:
        gain = _differences(runs, _named("fixed", features, 0), _named("one", features, 0), "test")
        claims.append(
            Claim(
                f"A tree of {GROWN_LEAVES} is better than one softmax-linear expert on {features} "
                "(the paired gain's 95 % interval is above 0; both stopped by dev).",
                "error 0.10 against 0.31 on the robot arm",
                _signed(gain),
                gain.low > 0,
            )
        )
    prior = best_prior(runs)
    fixed, grown = (_named(kind, "F0-F3", prior) for kind in ("fixed", "grown"))
    choice = f"prior {prior:g}, where dev tokens are likeliest at the end"
    used = {name: mean_of(runs, name, "in_use") for name in (fixed, grown)}
    gain = _differences(runs, grown, fixed, "test_end")
    claims += [
        Claim(
            f"A fixed tree of 8 loses half of its experts (at most 4.5 in use; {choice}).",
            "half",
            f"{used[fixed].mean:.1f} of 8 in use",
            used[fixed].mean <= 4.5,
        ),
        Claim(
            f"A grown tree of 8 uses all (at least 7.5 in use; {choice}).",
            "8 of 8",
            f"{used[grown].mean:.1f} of 8 in use",
            used[grown].mean >= 7.5,
        ),
        Claim(
            "A grown tree is more accurate than a fixed one (the paired gain's 95 % interval is "
            f"above 0; {choice}).",
            "+1.6 points",
            _signed(gain),
            gain.low > 0,
        ),
    ]
    entries = [next(e for e in r["pruned"] if e["threshold"] == -5.6) for r in runs["em_16"]]
    paths = float(np.mean([e["paths"] for e in entries]))
    cost = float(
        np.mean(
            [e["accuracy"] - r["test_end"] for e, r in zip(entries, runs["em_16"], strict=True)]
        )
    )
    claims.append(
        Claim(
            "Pruning paths below -5.6 leaves at most half of 16 to follow and changes the test "
            "accuracy by less than half a point.",
            "4,000 s to 155 s on two spirals (training)",
            f"{paths:.1f} of 16 paths, {cost:+.2f} points",
            paths <= 8 and abs(cost) < 0.5,
        )
    )
    return claims


def best_prior(runs: Runs) -> float:
    """The prior under which dev tokens are likeliest at the end, mean of fixed and grown trees."""

    def likelihood(prior: float) -> float:
        return sum(
            mean_of(runs, _named(kind, "F0-F3", prior), "dev_end").mean
            for kind in ("fixed", "grown")
        )

    return max(PRIORS, key=likelihood)
