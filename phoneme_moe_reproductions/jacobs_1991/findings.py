"""Table 1 of 1991 beside ours, and the paper's findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe_reproductions.figures import COLOURS, save, two_panels
from phoneme_moe_reproductions.jacobs_1991.systems import (
    INITIAL_RANGES,
    SYSTEMS,
    TABLE_1,
    four_vowels,
    job_key,
)
from phoneme_moe_reproductions.results import Claim, Outcome, Table
from phoneme_moe_reproductions.statistics import estimate, pooled_t_test
from phoneme_moe_reproductions.vowels import VOWELS

PUBLISHED = {
    "4 experts": (88, 90, 1124, 23),
    "8 experts": (88, 90, 1083, 12),
    "BP 6 hidden": (88, 90, 2209, 83),
    "BP 12 hidden": (88, 90, 2435, 124),
}
"""Train and test accuracy in per cent, epochs and their standard deviation."""

USUAL, SMALL = INITIAL_RANGES


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    usual = {name: results[job_key(name, USUAL)] for name in SYSTEMS}
    small = {name: results[job_key(name, SMALL)] for name in TABLE_1}
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


def converged_runs(result: Mapping[str, Any]) -> list[Any]:
    """The runs of a system that reached the required error."""
    return [run for run in result["runs"] if run]


def _table(name: str, title: str, by_system: Mapping[str, Any]) -> Table:
    rows = []
    for system, result in by_system.items():
        converged = converged_runs(result)
        means = {
            key: estimate([r[key] for r in converged]) if converged else None
            for key in ("train", "test", "epochs", "in_use", "per_case")
        }
        train, test, epochs, sd = PUBLISHED.get(system, (None,) * 4)
        rows.append(
            (
                system,
                train,
                means["train"],
                test,
                means["test"],
                epochs,
                means["epochs"],
                sd,
                means["epochs"] and means["epochs"].sd,
                means["in_use"] if "experts" in system else None,
                means["per_case"] if "experts" in system else None,
                f"{result['step_size']:g}",
                f"{len(converged)}/{len(result['runs'])}",
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
            "experts per case",
            "step size",
            "converged",
        ),
        tuple(rows),
    )


SLOW, FAST = ("BP 6 hidden", "BP 12 hidden"), ("4 experts", "8 experts")


def _epochs(by_system: Mapping[str, Any], name: str) -> list[float]:
    """Of every run; one that did not converge counts with the largest number."""
    result = by_system[name]
    return [r["epochs"] if r else result["longest"] for r in result["runs"]]


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
    converged = {name: converged_runs(result) for name, result in by_system.items()}
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
    tests = {n: np.mean([r["test"] for r in converged[n]]) for n in (*fast, *slow) if converged[n]}
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
    used = [r["in_use"] for n in fast for r in converged[n]]
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
    cooperative, competitive = converged["4 experts, eq. 1"], converged["4 experts"]
    if cooperative and competitive:
        blend = np.mean([r["per_case"] for r in cooperative])
        compete = np.mean([r["per_case"] for r in competitive])
        claims.append(
            Claim(
                "Trained on the error of the blend (eq. 1) more experts share a case than in "
                "competition (eq. 3).",
                "many experts for each case",
                f"{blend:.2f} against {compete:.2f} experts per case",
                bool(blend > compete),
            )
        )
    return claims


def draw(results: Mapping[str, Any], folder: Path) -> list[str]:
    """Epochs of every run; and the decision lines of one mixture."""
    figure, left, right = two_panels(9, 3.9)
    keys = {name: job_key(name, INITIAL_RANGES[0]) for name in SYSTEMS}
    for row, (name, key) in enumerate(keys.items()):
        ours = [r["epochs"] for r in results[key]["runs"] if r]
        left.plot(ours, [row] * len(ours), "|", color=COLOURS[0], markersize=12)
        if name in PUBLISHED:
            left.plot(PUBLISHED[name][2], row, "D", color=COLOURS[1], markersize=6)
    left.plot([], [], "|", color=COLOURS[0], markersize=12, label="a run")
    left.plot([], [], "D", color=COLOURS[1], label="mean of 1991")
    left.set_yticks(range(len(keys)), list(keys))
    left.invert_yaxis()
    left.set_xlim(0)
    left.set_xlabel("epochs until the average error is 0.08")
    left.legend(frameon=False, fontsize="small")
    _draw_lines(right, results[keys["4 experts"]])
    return save(figure, folder, "jacobs_1991", "Epochs of every run, and the lines of one mixture")


def _draw_lines(axes: Any, result: Mapping[str, Any]) -> None:
    """Cases, and the line of each expert where the gate gives it the largest weight."""
    inputs, _, training, vowel = four_vowels()
    names = {"iy": "[i]", "ih": "[I]", "aa": "[a]", "ah": "[ʌ]"}
    for number, (name, text) in enumerate(names.items()):
        formants = inputs[(vowel == VOWELS.index(name)) & training].numpy()
        axes.plot(*formants.T, ".", color=COLOURS[number], markersize=4, label=text)
    axes.set_xlabel("F1, kHz")
    axes.set_ylabel("F2, kHz")
    axes.legend(frameon=False, fontsize="small", loc="center right")
    first = next((r for r in result["runs"] if r), None)
    if first is None:
        return
    weights = {name: np.array(value) for name, value in first["weights"].items()}
    low, high = inputs.min(dim=0).values.numpy(), inputs.max(dim=0).values.numpy()
    grid = np.stack(
        np.meshgrid(np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200)), -1
    )
    gate = grid @ weights["gate.layers.0.weight"][0] + weights["gate.layers.0.bias"][0, 0]
    winner = gate.argmax(axis=-1)
    for expert in np.unique(winner):
        score = (
            grid @ weights["experts.layers.0.weight"][expert]
            + weights["experts.layers.0.bias"][expert, 0]
        )[..., 0]
        score = np.where(winner == expert, score, np.nan)
        axes.contour(grid[..., 0], grid[..., 1], score, [0.0], colors="black", linewidths=1.4)
    for expert in np.unique(winner)[1:]:
        axes.contour(
            grid[..., 0], grid[..., 1], (winner == expert).astype(float), [0.5],
            colors="grey", linestyles="dashed", linewidths=1,
        )  # fmt: skip
    axes.set_title("one mixture of 4: experts' lines, and the gate's (dashed)", fontsize="small")
