"""Accuracy beside cost, and what the mixture is better than."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.reproductions.ensembles.systems import TASKS
from phoneme_moe.reproductions.experiment import Cell, Claim, Outcome, Table
from phoneme_moe.reproductions.statistics import estimate, paired_t_test

MIXTURE, SPARSE = "mixture, all experts asked", "mixture, strongest expert only"

Runs = Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]
"""By task: what every system gave, in order of seeds."""


def by_task(results: Mapping[str, Any]) -> Runs:
    """Sorts the jobs' results by task."""
    seeds = len(results) // len(TASKS)
    return {task: [results[f"{task}_seed_{seed}"] for seed in range(seeds)] for task in TASKS}


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    runs = by_task(results)
    tables = tuple(_table(runs, task) for task in TASKS)
    return Outcome(tables, tuple(claim for task in TASKS for claim in _claims(runs, task)))


def errors(runs: Runs, task: str, system: str) -> list[float]:
    """Error in per cent of a system, for each seed."""
    return [found[system]["error"] for found in runs[task]]


def mean_cost(runs: Runs, task: str, system: str, key: str) -> float:
    """Mean over seeds of a part of the cost."""
    return float(np.mean([found[system][key] for found in runs[task]]))


def _table(runs: Runs, task: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for system in runs[task][0]:
        right = estimate([100 - error for error in errors(runs, task, system)])
        costs = (
            round(mean_cost(runs, task, system, key))
            for key in ("parameters", "touched", "multiply_adds")
        )
        rows.append((system, right, *costs))
    return Table(
        task,
        f"{TASKS[task][0].upper()}{TASKS[task][1:]}: per cent right, and what a decision costs",
        (
            "system",
            "right, %",
            "parameters",
            "parameters touched a decision",
            "multiply-adds a decision",
        ),
        tuple(rows),
        digits=2,
    )


def _claims(runs: Runs, task: str) -> list[Claim]:
    mixture = errors(runs, task, MIXTURE)
    claims = []
    rivals = [name for name in runs[task][0] if not name.startswith("mixture")]
    for rival in rivals if len(mixture) > 1 else ():
        other = errors(runs, task, rival)
        test = paired_t_test(other, mixture)
        claims.append(
            Claim(
                f"{TASKS[task]}: the mixture makes fewer errors than {rival} (paired t-test over "
                "seeds, p < 0.05).",
                "-",
                f"{np.mean(mixture):.2f} against {np.mean(other):.2f} % error, p = {test.p:.2g}",
                test.t > 0 and test.p < 0.05,
            )
        )
    sparse = errors(runs, task, SPARSE)
    share = mean_cost(runs, task, SPARSE, "multiply_adds") / mean_cost(
        runs, task, MIXTURE, "multiply_adds"
    )
    claims.append(
        Claim(
            f"{TASKS[task]}: asking only the strongest expert costs at most half a point (means).",
            "-",
            f"{np.mean(sparse):.2f} against {np.mean(mixture):.2f} % error with "
            f"{100 * share:.0f} % of the multiply-adds",
            bool(np.mean(sparse) - np.mean(mixture) <= 0.5),
        )
    )
    return claims
