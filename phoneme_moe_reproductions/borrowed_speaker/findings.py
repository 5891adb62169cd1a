"""Speakers without their own module; and gates that choose other modules by themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe_reproductions.borrowed_speaker.systems import CONFIGURATIONS
from phoneme_moe_reproductions.figures import COLOURS, draw_weights, save, two_panels
from phoneme_moe_reproductions.results import Cell, Claim, Outcome, Table
from phoneme_moe_reproductions.statistics import estimate

LEAST_OWN_WEIGHT = 0.1
"""With less mean weight of the own module, a speaker counts as served by the others' modules."""

Runs = Sequence[Mapping[str, Any]]
"""Results of the jobs of one kind, in order of seeds."""

REFERENCE = str(CONFIGURATIONS[0])
"""The gate over all modules that gates without the own module are compared with."""


def full_runs(results: Mapping[str, Any]) -> Runs:
    """Results of the jobs with fully trained modules."""
    return [result for key, result in results.items() if key.startswith("seed_")]


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    runs = full_runs(results)
    early = [result for key, result in results.items() if key.startswith("early_")]
    tables = (_removed(runs), _unrestricted({"fully trained": runs, "undertrained": early}))
    return Outcome(tables, tuple(_claims(runs, early)))


def with_all(result: Mapping[str, Any], speaker: str) -> float:
    """Error of a speaker under the gate over all modules."""
    return float(result["configurations"][REFERENCE]["errors"][speaker])


def cost_of_removal(runs: Runs, speaker: str) -> list[float]:
    """Rise of a speaker's error in points when the own module is removed, for each seed."""
    return [r["without"][speaker] - with_all(r, speaker) for r in runs]


def mean_blend(runs: Runs, number: int) -> np.ndarray:
    """Mean weights, in per cent, of the modules that replace a speaker's own."""
    weights: np.ndarray = 100 * np.mean([r["blend"][number] for r in runs], axis=0)
    return weights


def served_by_others(runs: Runs, configuration: str) -> list[tuple[int, str]]:
    """Seeds and speakers whose own module has little weight in a gate over all modules."""
    return [
        (seed, speaker)
        for seed, result in enumerate(runs)
        for speaker, share in result["configurations"][configuration]["own_share"].items()
        if share < LEAST_OWN_WEIGHT
    ]


def _removed(runs: Runs) -> Table:
    speakers = runs[0]["speakers"]
    rows: list[tuple[Cell, ...]] = []
    for number, speaker in enumerate(speakers):
        weights = mean_blend(runs, number)
        largest = [int(k) for k in np.argsort(-weights) if weights[k] >= 5]
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
                ", ".join(f"{speakers[k]} {weights[k]:.0f}" for k in largest),
            )
        )
    return Table(
        "removed",
        "Each speaker with and without the own module: error, per cent",
        (
            "speaker",
            "own module alone",
            "gate over all",
            "gate over the others' modules",
            "best module of another alone",
            "other speakers, under that gate",
            "rise in points",
            "modules that replace it (mean weight, %)",
        ),
        tuple(rows),
    )


def _unrestricted(kinds: Mapping[str, Runs]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for modules, runs in kinds.items():
        for configuration in map(str, CONFIGURATIONS):
            cases = served_by_others(runs, configuration)
            gates = [r["configurations"][configuration] for r in runs]
            counts = Counter(speaker for _, speaker in cases)
            rows.append(
                (
                    configuration,
                    modules,
                    estimate([float(np.mean(list(g["errors"].values()))) for g in gates]),
                    estimate([100 * float(np.mean(list(g["own_share"].values()))) for g in gates]),
                    len({seed for seed, _ in cases}),
                    ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "-",
                    _mean([gates[seed]["errors"][name] for seed, name in cases]),
                    _mean([runs[seed]["own"][name] for seed, name in cases]),
                )
            )
    return Table(
        "left_alone",
        "Gates over all modules: speakers served by the others' modules (own module below "
        f"{100 * LEAST_OWN_WEIGHT:.0f} % of the weight)",
        (
            "gate",
            "modules",
            "error, %",
            "own module's weight, %",
            "seeds with such a speaker",
            "speaker, number of seeds",
            "error under the gate, %",
            "error of the own module, %",
        ),
        tuple(rows),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _claims(runs: Runs, early: Runs) -> list[Claim]:
    speakers = runs[0]["speakers"]
    costs = {name: estimate(cost_of_removal(runs, name)) for name in speakers}
    replaceable = [name for name, cost in costs.items() if cost.mean <= 1]
    least = min(costs, key=lambda name: costs[name].mean)
    without = float(np.mean([r["without"][least] for r in runs]))
    worst = max(costs, key=lambda name: costs[name].mean)
    blend_gains = [
        float(np.mean([r["without"][n] - r["best_other"][n] for n in speakers])) for r in runs
    ]
    gates = [
        (modules, results, name)
        for modules, results in (("fully trained", runs), ("undertrained", early))
        for name in map(str, CONFIGURATIONS)
    ]
    counts = {
        (modules, name): len({seed for seed, _ in served_by_others(results, name)})
        for modules, results, name in gates
    }
    most = max(counts, key=lambda key: counts[key])
    fewest = min(counts, key=lambda key: counts[key])
    near = [
        results[seed]["configurations"][name]["errors"][speaker] - results[seed]["own"][speaker]
        <= 1
        for _, results, name in gates
        for seed, speaker in served_by_others(results, name)
    ]
    return [
        Claim(
            "Some speaker is recognised by other speakers' modules alone within 1 point of the "
            "accuracy with the own module (mean over seeds).",
            "99.8 % for MHT, without the own module",
            f"{', '.join(replaceable) or 'no speaker'}; smallest rise: {least}, "
            f"{costs[least].mean:+.2f} points ({100 - without:.2f} % accuracy)",
            bool(replaceable),
        ),
        Claim(
            "So is every speaker (not claimed in 1989).",
            "-",
            f"{len(replaceable)} of {len(speakers)}; largest rise: {worst}, "
            f"{costs[worst].mean:+.1f} points",
            len(replaceable) == len(speakers),
        ),
        Claim(
            "A blend of the others does better than the best one of them alone (mean over "
            "speakers, 95 % interval).",
            "several modules served MHT",
            f"{estimate(blend_gains).mean:+.1f} points of error",
            estimate(blend_gains).high < 0,
        ),
        Claim(
            f"A gate over all modules serves some speaker by the others' (own module under "
            f"{100 * LEAST_OWN_WEIGHT:.0f} %) in one configuration and not in another.",
            "six speakers: MHT's own module was not in use; three: all modules were",
            f"in {counts[most]} of {len(runs)} seeds over {most[0]} modules with {most[1]}; in "
            f"{counts[fewest]} over {fewest[0]} ones with {fewest[1]}",
            counts[most] > counts[fewest],
        ),
        Claim(
            "A speaker so served is within 1 point of the own module's accuracy (in at least half "
            "of the cases of all configurations).",
            "99.8 % for MHT, some 99 % by the own module",
            f"{sum(near)} of {len(near)} cases",
            bool(near) and 2 * sum(near) >= len(near),
        ),
    ]


def draw(results: Mapping[str, Any], folder: Path, name: str = "borrowed_speaker") -> list[str]:
    """Error of each speaker with and without the own module; and the blend that replaces it."""
    runs = full_runs(results)
    speakers = runs[0]["speakers"]
    figure, left, right = two_panels(10, 4, (1.15, 1))
    kinds = {
        "all": "gate over all modules",
        "without": "gate over the others' modules",
        "best_other": "best module of another alone",
    }
    for shift, (kind, label) in enumerate(kinds.items()):
        for row, speaker in enumerate(speakers):
            values = [with_all(r, speaker) if kind == "all" else r[kind][speaker] for r in runs]
            height = row + (shift - 1) * 0.22
            left.plot(
                values, [height] * len(values), "|", color=COLOURS[shift], markersize=7, alpha=0.7
            )
            left.plot(
                np.mean(values), height, "o", color=COLOURS[shift], markersize=6,
                label=label if row == 0 else None,
            )  # fmt: skip
    left.set_yticks(range(len(speakers)), speakers)
    left.invert_yaxis()
    left.set_xlim(0)
    left.set_xlabel("error, % (strokes: seeds; points: means)")
    left.legend(frameon=False, fontsize="small")
    weights = np.array([mean_blend(runs, number) for number in range(len(speakers))])
    np.fill_diagonal(weights, np.nan)
    draw_weights(right, weights, speakers, speakers)
    right.set_title("modules that replace it: mean weight, %", fontsize="small")
    return save(figure, folder, name, "Speakers without their own module")
