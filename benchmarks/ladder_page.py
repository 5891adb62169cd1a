"""The section of docs/benchmarks.md on sparse mixtures, from the kept figures of the ladder."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import table

BASELINE = "dense"
BEAM, GREEDY = "errors_beam", "errors"
"""Errors of beam search, the default decoding of these runs, and of greedy decoding."""
DRAWS = 10_000
PICTURE = (
    "![Fewer or more errors than the dense net, and errors on dev over the epochs]"
    "(images/sparse_ladder.svg)\n\n"
)
FEWER_ERRORS, DENSE_PER = 0.05, 0.42
"""Targets: relative error reduction of the best sparse recipe, and PER of ``dense``."""
LONGEST_PER, LONGEST_MINUTES = 0.34, 120
"""Targets of the recipes trained for the lowest PER: PER, and minutes of training."""


def runs_of(figures: dict[str, Any], recipe: str) -> list[dict[str, Any]]:
    """Figures of a recipe's seeds."""
    return [run for key, run in sorted(figures.items()) if key.split("/")[0] == recipe]


@dataclass(frozen=True)
class Change:
    """Difference between the errors of two recipes.

    Attributes:
        whole: Relative change of PER.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-sided p value.
        seeds: Number of seeds that both have; errors are means over them.
    """

    whole: float
    low: float
    high: float
    p: float
    seeds: int

    @property
    def interval(self) -> str:
        """In %, with its interval."""
        return f"{100 * self.whole:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


def compare(
    figures: dict[str, Any], recipe: str, baseline: str = BASELINE, errors: str = BEAM
) -> Change | None:
    """Paired bootstrap of two recipes over utterances (Bisani & Ney 2004).

    Errors of an utterance are the mean over the seeds that both have.

    Args:
        figures: As ``benchmarks.sparse_ladder`` keeps them.
        recipe: Name of the recipe.
        baseline: Name of the recipe that it is compared with.
        errors: Key of the errors, ``BEAM`` or ``GREEDY``.

    Returns:
        None if they have no seed in common.
    """
    pairs = [
        (run, other)
        for key, run in figures.items()
        if key.split("/")[0] == recipe
        and errors in run
        and errors in (other := figures.get(f"{baseline}/{key.split('/')[1]}", {}))
    ]
    if not pairs:
        return None
    lengths = np.array(pairs[0][0]["lengths"], dtype=np.float64)
    ours, theirs = (_mean_errors([pair[side] for pair in pairs], errors) for side in (0, 1))
    generator = np.random.default_rng(0)
    even = np.full(len(lengths), 1 / len(lengths))
    counts = generator.multinomial(len(lengths), even, size=DRAWS)
    change = (counts @ ours) / (counts @ theirs) - 1
    low, high = np.quantile(change, [0.025, 0.975])
    beyond = min((change >= 0).mean(), (change <= 0).mean())
    whole = float(ours.sum() / theirs.sum() - 1)
    p = min(1.0, max(2 * float(beyond), 1 / DRAWS))
    return Change(whole, float(low), float(high), p, len(pairs))


def _mean_errors(runs: list[dict[str, Any]], key: str) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = np.mean([run[key] for run in runs], axis=0)
    return errors


def section(figures: dict[str, Any], order: tuple[str, ...]) -> str:
    """The ladder as Markdown.

    Args:
        figures: As ``benchmarks.sparse_ladder`` keeps them.
        order: Recipes in the order of the table.
    """
    baseline = runs_of(figures, BASELINE)
    if not baseline:
        return ""
    rows = []
    for recipe in order:
        runs = runs_of(figures, recipe)
        if not runs:
            continue
        first = runs[0]
        changes = []
        for key, errors in (("per_beam", BEAM), ("per", GREEDY)):
            change = None if recipe == BASELINE else compare(figures, recipe, errors=errors)
            cells = ["", ""]
            if change is not None:
                cells = [change.interval, f"{change.p:.4f}"]
            elif recipe != BASELINE:
                cells = ["no errors by utterance", ""]
            changes += [_rates(runs, key), *cells]
        rows.append(
            [
                f"`{recipe}`",
                *changes,
                f"{first['total'] / 1e6:.2f}",
                f"{first['active'] / 1e6:.2f}",
                f"{first['multiply_adds'] / 1e6:.3f}",
                f"{mean(r['seconds'] for r in runs) / 60:.0f}",
                f"{mean(r['training_frames_per_second'] for r in runs):,.0f}",
                f"{mean(r['inference_frames_per_second'] for r in runs):,.0f}",
            ]
        )
    head = [
        "recipe",
        "PER, %",
        "relative to `dense`, % (95 %)",
        "p",
        "greedy, %",
        "relative to `dense`, % (95 %)",
        "p",
        "weights, M",
        "active, M",
        "multiply-adds, M",
        "minutes",
        "training frames/s",
        "inference frames/s",
    ]
    text = (
        f"## Sparse mixtures against one dense net\n\n{PICTURE if best_of(figures, order) else ''}"
        "`python -m benchmarks.sparse_ladder`: "
        f"speechocean762, 115 training speakers, {first_epochs(baseline)} epochs for all; PER "
        "(39 phonemes, no\nfolding) on 25 unseen test speakers. Change and p: paired bootstrap "
        "over the 500 test utterances. PER is by the default\ndecoding of these runs: beam search "
        "with "
        "a beam of 16 and the 5-gram of the run's training phonemes, weighted on dev\n"
        "(`task.beam`); greedy is `--beam 0`. Multiply-adds are per frame of 40 ms, minutes and "
        "frames/s are of one process of one\nthread (two run at a time); minutes count every epoch "
        "once, frames are of 10 ms without padding, inference is greedy.\n\n"
    )
    text += table(head, rows) + _bars(figures, baseline, order)
    routed = [r for r in order if r != BASELINE and runs_of(figures, r)]
    if routed:
        text += _routing(figures, routed)
    return text


def best_of(figures: dict[str, Any], order: tuple[str, ...]) -> str | None:
    """The sparse recipe with the largest error reduction, seed by seed; None if none was run."""
    changes = {recipe: compare(figures, recipe) for recipe in order if recipe != BASELINE}
    relative = {recipe: change.whole for recipe, change in changes.items() if change is not None}
    return min(relative, key=relative.__getitem__, default=None)


def _bars(figures: dict[str, Any], baseline: list[dict[str, Any]], order: tuple[str, ...]) -> str:
    """Targets, and whether they are met."""
    lines = []
    best = best_of(figures, order)
    if best is not None:
        beam, greedy = (compare(figures, best, errors=e) for e in (BEAM, GREEDY))
        assert beam is not None
        assert greedy is not None
        lines.append(
            f"`{best}`, the best sparse one, at least {100 * FEWER_ERRORS:.0f} % fewer errors than "
            f"`dense`, p < 0.05: {_reduction(beam)}; greedy {_reduction(greedy)}."
        )
    beam_per, greedy_per = (mean(run[key] for run in baseline) for key in ("per_beam", "per"))
    lines.append(
        f"`{BASELINE}`, at most {100 * DENSE_PER:.0f} %: {_at_most(beam_per)}; greedy "
        f"{_at_most(greedy_per)}."
    )
    return "\n" + "".join(f"- {line}\n" for line in lines)


def _at_most(rate: float) -> str:
    return f"{100 * rate:.2f} %, {'met' if rate <= DENSE_PER else '**not met**'}"


def _reduction(change: Change) -> str:
    met = "met" if change.whole <= -FEWER_ERRORS and change.p < 0.05 else "**not met**"
    seeds = f"{change.seeds} seed{'s' * (change.seeds > 1)}"
    return f"{change.interval} %, p = {change.p:.4f}, {seeds}, {met}"


def first_epochs(runs: list[dict[str, Any]]) -> int:
    """Epochs that a recipe was trained for."""
    return int(runs[0]["epochs"])


def _rates(runs: list[dict[str, Any]], key: str) -> str:
    rates = [100 * run[key] for run in runs]
    if len(rates) == 1:
        return f"{rates[0]:.2f}"
    return f"{mean(rates):.2f} ± {stdev(rates):.2f} ({len(rates)} seeds)"


def _routing(figures: dict[str, Any], recipes: list[str]) -> str:
    rows = []
    for recipe in recipes:
        for layer in runs_of(figures, recipe)[0]["layers"]:
            rows.append(
                [
                    f"`{recipe}`",
                    layer["layer"],
                    str(layer["experts"]),
                    f"{layer['variation']:.2f}",
                    str(layer["dead"]),
                    f"{layer['speaker_bits']:.3f}",
                    f"{layer['phoneme_bits']:.3f}",
                ]
            )
    head = ["recipe", "layer", "experts", "load cv", "dead", "bits on speaker", "bits on phoneme"]
    return (
        "\nRouting of the test frames: coefficient of variation (cv) of the load, dead experts "
        "(below a tenth of an equal share), and\nmutual information of expert and speaker (of "
        "4.64 bits) "
        "and of expert and phoneme.\n\n" + table(head, rows)
    )


def longest_section(figures: dict[str, Any], recipes: tuple[str, str]) -> str:
    """The recipes trained longer than the ladder, for the lowest PER.

    Args:
        figures: As ``benchmarks.sparse_ladder`` keeps them.
        recipes: The sparse one, and the dense one that it is compared with.
    """
    rows, lines = [], []
    for recipe in recipes:
        for run in runs_of(figures, recipe):
            low, high = _interval(run)
            minutes = run["seconds"] / 60
            rows.append(
                [
                    f"`{recipe}`",
                    f"{100 * run['per_beam']:.2f}",
                    f"{100 * low:.2f} to {100 * high:.2f}",
                    f"{run['beam']}",
                    f"{run.get('shifts', 1)}",
                    f"{100 * run['per']:.2f}",
                    f"{run['epochs']}",
                    f"{minutes:.0f}",
                    f"{run['total'] / 1e6:.2f}",
                    f"{run['active'] / 1e6:.2f}",
                    f"{run['multiply_adds'] / 1e6:.3f}",
                ]
            )
            met = run["per_beam"] <= LONGEST_PER and minutes <= LONGEST_MINUTES
            lines.append(
                f"- `{recipe}`, at most {100 * LONGEST_PER:.0f} % in at most {LONGEST_MINUTES} "
                f"minutes: {100 * run['per_beam']:.2f} % in {minutes:.0f}, "
                f"{'met' if met else '**not met**'}.\n"
            )
    if not rows:
        return ""
    sparse, dense = recipes
    change = compare(figures, sparse, dense)
    if change is not None:
        lines.append(
            f"- `{sparse}` against `{dense}`, with as many multiply-adds: {_reduction(change)} "
            f"(target: {100 * FEWER_ERRORS:.0f} % fewer errors).\n"
        )
    head = [
        "recipe",
        "PER, %",
        "95 % interval",
        "beam",
        "shifts",
        "greedy, %",
        "epochs",
        "minutes",
        "weights, M",
        "active, M",
        "multiply-adds, M",
    ]
    return (
        "\n### The lowest PER\n\nThe same speech and the same test speakers, longer training, and "
        "the default decoding of the run (beam search with its\nn-gram, where it was trained with "
        "one; shifts, 10 ms apart, are test-time augmentation). One process of one thread.\n\n"
        + table(head, rows)
        + "\n"
        + "".join(lines)
    )


def _interval(run: dict[str, Any]) -> tuple[float, float]:
    """Of PER with the beam, by bootstrap over utterances."""
    errors, lengths = np.array(run["errors_beam"]), np.array(run["lengths"])
    even = np.full(len(lengths), 1 / len(lengths))
    counts = np.random.default_rng(0).multinomial(len(lengths), even, size=DRAWS)
    low, high = np.quantile((counts @ errors) / (counts @ lengths), [0.025, 0.975])
    return float(low), float(high)


def collapse_section(figures: dict[str, Any], recipes: tuple[str, ...]) -> str:
    """Expert collapse without balancing, and training with it, epoch by epoch."""
    runs_by_recipe = {recipe: runs_of(figures, recipe) for recipe in recipes}
    if not all(runs_by_recipe.values()):
        return ""
    histories = {recipe: runs[0]["history"] for recipe, runs in runs_by_recipe.items()}
    epochs = min(len(history) for history in histories.values())
    shown = sorted({0, 1, 2, 4, 9, epochs // 2, epochs - 1} & set(range(epochs)))
    rows = [
        [
            str(epoch + 1),
            *(
                cell
                for history in histories.values()
                for cell in (
                    f"{history[epoch]['variation']:.2f}",
                    f"{history[epoch]['dead']:.0f}",
                    f"{100 * history[epoch]['dev_error']:.1f}",
                )
            ),
        ]
        for epoch in shown
    ]
    head = ["epoch"]
    for recipe in recipes:
        head += [f"`{recipe}` load cv", "dead", "dev PER, %"]
    tests = ", ".join(
        f"`{recipe}` {100 * runs[0]['per_beam']:.2f} %" for recipe, runs in runs_by_recipe.items()
    )
    return (
        "\n### Collapse and its cure\n\nThe same small model without and with balancing: the worst "
        f"layer's load, epoch by epoch. PER on test: {tests};\non dev: greedy decoding.\n\n"
        + table(head, rows)
    )
