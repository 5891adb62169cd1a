"""Accuracy beside cost, and the systems that the mixture is better than."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe_reproductions.ensembles.systems import MIXTURE, TOP1
from phoneme_moe_reproductions.figures import COLOURS, save, two_panels
from phoneme_moe_reproductions.results import Cell, Claim, Outcome, Table
from phoneme_moe_reproductions.statistics import estimate, paired_t_test

TASKS = {"tokens": "six announcers, /b d g/", "vowels": "ten vowels, unseen speakers"}
LABELS = {MIXTURE: "mixture, all experts", TOP1: "mixture, top-1 expert"}
"""Systems that people know by another name than results do."""

Runs = Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]
"""By task: error and cost of every system, in order of seeds."""


def by_task(results: Mapping[str, Any]) -> Runs:
    """Groups the jobs' results by task."""
    seeds = len(results) // len(TASKS)
    return {task: [results[f"{task}_seed_{seed}"] for seed in range(seeds)] for task in TASKS}


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    runs = by_task(results)
    tables = tuple(_table(runs, task) for task in TASKS)
    return Outcome(tables, tuple(claim for task in TASKS for claim in _claims(runs, task)))


def errors(runs: Runs, task: str, system: str) -> list[float]:
    """Error in per cent of a system, for each seed."""
    return [result[system]["error"] for result in runs[task]]


def mean_cost(runs: Runs, task: str, system: str, key: str) -> float:
    """Mean over seeds of a part of the cost."""
    return float(np.mean([result[system][key] for result in runs[task]]))


def _table(runs: Runs, task: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for system in runs[task][0]:
        accuracy = estimate([100 - error for error in errors(runs, task, system)])
        costs = (
            round(mean_cost(runs, task, system, key))
            for key in ("parameters", "touched", "multiply_adds")
        )
        rows.append((LABELS.get(system, system), accuracy, *costs))
    return Table(
        task,
        f"{TASKS[task][0].upper()}{TASKS[task][1:]}: accuracy and cost of a decision",
        (
            "system",
            "accuracy, %",
            "parameters",
            "parameters read per decision",
            "multiply-adds per decision",
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
    top1 = errors(runs, task, TOP1)
    share = mean_cost(runs, task, TOP1, "multiply_adds") / mean_cost(
        runs, task, MIXTURE, "multiply_adds"
    )
    claims.append(
        Claim(
            f"{TASKS[task]}: using only the top-1 expert costs at most half a point (means).",
            "-",
            f"{np.mean(top1):.2f} against {np.mean(mixture):.2f} % error with "
            f"{100 * share:.0f} % of the multiply-adds",
            bool(np.mean(top1) - np.mean(mixture) <= 0.5),
        )
    )
    return claims


MARKERS = "oosDvv^<>"


def draw(results: Mapping[str, Any], folder: Path) -> list[str]:
    """A panel for each task: error over multiply-adds, every system a point with its interval."""
    runs = by_task(results)
    figure, *panels = two_panels(10, 4.8)
    for axes, task in zip(panels, TASKS, strict=True):
        for number, system in enumerate(runs[task][0]):
            error = estimate(errors(runs, task, system))
            cost = mean_cost(runs, task, system, "multiply_adds")
            axes.errorbar(
                cost, error.mean, [[error.mean - error.low], [error.high - error.mean]],
                fmt=MARKERS[number], color=COLOURS[number % len(COLOURS)], markersize=7, capsize=3,
                fillstyle="full" if number % 2 == 0 else "none", label=LABELS.get(system, system),
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_ylim(0)
        axes.set_xlabel("multiply-adds per decision")
        axes.set_ylabel("error, %")
        axes.set_title(TASKS[task], fontsize="small")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize="small"
    )
    return save(figure, folder, "ensembles", "Error of every system over the cost of a decision")
