"""Speakers without their own module; and speakers whom a gate gives away by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.reproductions.borrowed_speaker.systems import CONFIGURATIONS
from phoneme_moe.reproductions.experiment import Cell, Claim, Outcome, Table
from phoneme_moe.reproductions.statistics import estimate

GIVEN_AWAY = 0.1
"""A speaker is given to the others if his own module has less than this mean weight."""

Runs = Sequence[Mapping[str, Any]]
"""What the jobs of one kind gave, in order of seeds."""

FINISHED = str(CONFIGURATIONS[0])
"""The gate over all modules that the others are compared with."""


def whole(results: Mapping[str, Any]) -> Runs:
    """The jobs with finished modules."""
    return [found for key, found in results.items() if key.startswith("seed_")]


def early(results: Mapping[str, Any]) -> Runs:
    """The jobs with modules that are not finished."""
    return [found for key, found in results.items() if key.startswith("early_")]


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    runs, unfinished = whole(results), early(results)
    tables = (_removed(runs), _left_alone({"finished": runs, "unfinished": unfinished}))
    return Outcome(tables, tuple(_claims(runs, unfinished)))


def with_all(found: Mapping[str, Any], speaker: str) -> float:
    """Error of a speaker under the gate over all modules."""
    return float(found["configurations"][FINISHED]["errors"][speaker])


def cost_of_removal(runs: Runs, speaker: str) -> list[float]:
    """Points of error that a speaker pays when his module is removed, for each seed."""
    return [r["without"][speaker] - with_all(r, speaker) for r in runs]


def mean_blend(runs: Runs, number: int) -> np.ndarray:
    """Mean weights, in per cent, of the modules that replace a speaker's own."""
    weights: np.ndarray = 100 * np.mean([r["blend"][number] for r in runs], axis=0)
    return weights


def given_away(runs: Runs, configuration: str) -> list[tuple[int, str]]:
    """Seeds and speakers whose own module a gate hardly asks, though it may."""
    return [
        (seed, speaker)
        for seed, found in enumerate(runs)
        for speaker, share in found["configurations"][configuration]["own_share"].items()
        if share < GIVEN_AWAY
    ]


def _removed(runs: Runs) -> Table:
    speakers = runs[0]["speakers"]
    rows: list[tuple[Cell, ...]] = []
    for number, speaker in enumerate(speakers):
        mixing = mean_blend(runs, number)
        most = [int(k) for k in np.argsort(-mixing) if mixing[k] >= 5]
        rows.append(
            (
                speaker,
                estimate([r["own"][speaker] for r in runs]),
                estimate([with_all(r, speaker) for r in runs]),
                *(
                    estimate([r[key][speaker] for r in runs])
                    for key in ("without", "best_other", "others")
                ),
                estimate(cost_of_removal(runs, speaker)),
                ", ".join(f"{speakers[k]} {mixing[k]:.0f}" for k in most),
            )
        )
    return Table(
        "removed",
        "Each speaker with and without his own module: error, per cent",
        (
            "speaker",
            "own module alone",
            "gate over all",
            "gate over the others' modules",
            "best module of another alone",
            "other speakers, under that gate",
            "points lost",
            "who replaces him (mean weight, %)",
        ),
        tuple(rows),
    )


def _left_alone(kinds: Mapping[str, Runs]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for modules, runs in kinds.items():
        for configuration in map(str, CONFIGURATIONS):
            cases = given_away(runs, configuration)
            found = [r["configurations"][configuration] for r in runs]
            counts = Counter(speaker for _, speaker in cases)
            rows.append(
                (
                    configuration,
                    modules,
                    estimate([float(np.mean(list(f["errors"].values()))) for f in found]),
                    estimate([100 * float(np.mean(list(f["own_share"].values()))) for f in found]),
                    len({seed for seed, _ in cases}),
                    ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "-",
                    _mean([found[seed]["errors"][name] for seed, name in cases]),
                    _mean([runs[seed]["own"][name] for seed, name in cases]),
                )
            )
    return Table(
        "left_alone",
        "Gates that may ask every module: whom they give to the others (own module below "
        f"{100 * GIVEN_AWAY:.0f} % of the weight)",
        (
            "gate",
            "modules",
            "error, %",
            "own module's weight, %",
            "seeds with a speaker given away",
            "who, in how many seeds",
            "his error so, %",
            "his own module's, %",
        ),
        tuple(rows),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _claims(runs: Runs, unfinished: Runs) -> list[Claim]:
    speakers = runs[0]["speakers"]
    costs = {name: estimate(cost_of_removal(runs, name)) for name in speakers}
    cheap = [name for name, cost in costs.items() if cost.mean <= 1]
    least = min(costs, key=lambda name: costs[name].mean)
    without = float(np.mean([r["without"][least] for r in runs]))
    worst = max(costs, key=lambda name: costs[name].mean)
    blends = [
        float(np.mean([r["without"][n] - r["best_other"][n] for n in speakers])) for r in runs
    ]
    counts = {
        (kind, name): len({seed for seed, _ in given_away(found, name)})
        for kind, found in (("finished", runs), ("unfinished", unfinished))
        for name in map(str, CONFIGURATIONS)
    }
    most = max(counts, key=lambda key: counts[key])
    fewest = min(counts, key=lambda key: counts[key])
    cases = [
        (found[seed]["configurations"][name]["errors"][speaker], found[seed]["own"][speaker])
        for found in (runs, unfinished)
        for name in map(str, CONFIGURATIONS)
        for seed, speaker in given_away(found, name)
    ]
    near = [error - own <= 1 for error, own in cases]
    return [
        Claim(
            "Some speaker is recognised through other speakers' modules alone, within 1 point of "
            "his rate with his own (mean over seeds).",
            "99.8 % for MHT, without his own",
            f"{', '.join(cheap) or 'nobody'}; least lost: {least}, {costs[least].mean:+.2f} points "
            f"({100 - without:.2f} % right)",
            bool(cheap),
        ),
        Claim(
            "So is every speaker (not claimed in 1989).",
            "-",
            f"{len(cheap)} of {len(speakers)}; most lost: {worst}, {costs[worst].mean:+.1f} points",
            len(cheap) == len(speakers),
        ),
        Claim(
            "A blend of the others does better than the best one of them alone (mean over "
            "speakers, 95 % interval).",
            "several modules served MHT",
            f"{estimate(blends).mean:+.1f} points of error",
            estimate(blends).high < 0,
        ),
        Claim(
            f"Left alone, a gate gives some speaker to the others (own module under "
            f"{100 * GIVEN_AWAY:.0f} %) in one configuration and not in another.",
            "six speakers: MHT had no module of his own in use; three: he was shared",
            f"in {counts[most]} of {len(runs)} seeds over {most[0]} modules with {most[1]}; in "
            f"{counts[fewest]} over {fewest[0]} ones with {fewest[1]}",
            counts[most] > counts[fewest],
        ),
        Claim(
            "A speaker given away so is within 1 point of his own module's rate (in at least half "
            "of the cases of all configurations).",
            "99.8 % for MHT, some 99 % by his own",
            f"{sum(near)} of {len(near)} cases",
            bool(near) and 2 * sum(near) >= len(near),
        ),
    ]
