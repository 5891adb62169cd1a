"""Figures of trees over seeds, and the papers' findings beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe_reproductions.hme_1994.systems import GROWN_LEAVES, LEAVES, PRIORS, SYSTEMS
from phoneme_moe_reproductions.results import Claim
from phoneme_moe_reproductions.statistics import Estimate, estimate
from phoneme_moe_reproductions.vowels import FEATURES

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""The results of every system, in order of seeds."""

WITHIN = 0.01
"""Nats per token below the level that both methods reach."""

METHODS = {"em": "EM", "rprop": "gradient, Rprop", "descent": "gradient descent"}


def by_system(results: Mapping[str, Any]) -> Runs:
    """Groups the jobs' results by system."""
    count = len(results) // len(SYSTEMS)
    return {name: [results[f"{name}_seed_{s}"] for s in range(count)] for name in SYSTEMS}


def mean_of(runs: Runs, system: str, key: str) -> Estimate:
    """Mean of a figure over the seeds."""
    return estimate([r[key] for r in runs[system]])


def iterations_to_common_level(runs: Runs, method: str, leaves: int) -> tuple[list[int], list[int]]:
    """Iterations of EM and of a gradient method to the same likelihood.

    For each seed the level is the lower of the two last likelihoods, less ``WITHIN``.

    Returns:
        Those of EM and those of the gradient method, one for each seed.
    """
    needed: tuple[list[int], list[int]] = ([], [])
    for pair in zip(runs[f"em_{leaves}"], runs[f"{method}_{leaves}"], strict=True):
        level = min(max(r["curve"]) for r in pair) - WITHIN
        for counts, result in zip(needed, pair, strict=True):
            counts.append(next(i for i, value in enumerate(result["curve"]) if value >= level))
    return needed


def system_name(kind: str, features: str, prior: float) -> str:
    """Key in ``SYSTEMS`` of one leaf (``one``), a ``fixed`` or a ``grown`` tree."""
    return f"{kind}_{features.replace(' ', '')}_{prior:g}"


def differences(runs: Runs, first: str, second: str, key: str) -> Estimate:
    """First less second, seed by seed, on the same speakers."""
    return estimate([a[key] - b[key] for a, b in zip(runs[first], runs[second], strict=True)])


def claims(runs: Runs) -> list[Claim]:
    """The papers' findings, with ours."""
    em_runs = [r for name, system in SYSTEMS.items() if system.method == "em" for r in runs[name]]
    falls, steps = sum(r["falls"] for r in em_runs), sum(len(r["curve"]) for r in em_runs)
    statements = [
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
        counts = [iterations_to_common_level(runs, method, n) for n in sizes]
        ours, theirs = (float(np.mean([np.mean(c[i]) for c in counts])) for i in (0, 1))
        statements.append(
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
        gain = differences(
            runs, system_name("fixed", features, 0), system_name("one", features, 0), "test"
        )
        statements.append(
            Claim(
                f"A tree of {GROWN_LEAVES} is better than one softmax-linear expert on {features} "
                "(the paired gain's 95 % interval is above 0; both stopped by dev).",
                "error 0.10 against 0.31 on the robot arm",
                gain.points(2),
                gain.low > 0,
            )
        )
    prior = best_prior(runs)
    fixed, grown = (system_name(kind, "F0-F3", prior) for kind in ("fixed", "grown"))
    choice = f"prior {prior:g}, with the largest dev likelihood at the end"
    used = {name: mean_of(runs, name, "in_use") for name in (fixed, grown)}
    gain = differences(runs, grown, fixed, "test_end")
    statements += [
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
            gain.points(2),
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
    statements.append(
        Claim(
            "Pruning paths below -5.6 leaves at most half of 16 to evaluate and changes the test "
            "accuracy by less than half a point.",
            "4,000 s to 155 s on two spirals (training)",
            f"{paths:.1f} of 16 paths, {cost:+.2f} points",
            paths <= 8 and abs(cost) < 0.5,
        )
    )
    return statements


def best_prior(runs: Runs) -> float:
    """The prior with the largest dev likelihood at the end, mean of fixed and grown trees."""

    def likelihood(prior: float) -> float:
        return sum(
            mean_of(runs, system_name(kind, "F0-F3", prior), "dev_end").mean
            for kind in ("fixed", "grown")
        )

    return max(PRIORS, key=likelihood)
