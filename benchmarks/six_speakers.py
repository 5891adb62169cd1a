"""The mixture against one net for all, and every expert on every speaker.

``python -m benchmarks.six_speakers`` trains ``hampshire_waibel`` and ``six_speakers_digits`` with
ten seeds each, their pooled baselines with three, and on FSDD the mixture with each speaker left
out with five. It resumes when interrupted. ``--quick`` uses one seed and one epoch per stage.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks import page, results, workers
from benchmarks.results import table
from phoneme_moe.corpora import load_corpus, prepare_corpus
from phoneme_moe.evaluation.errors import Evaluation, evaluate
from phoneme_moe.pipeline import train
from phoneme_moe.recipe import load_recipe

PAIRS = (
    ("hampshire_waibel", "hampshire_waibel_pooled"),
    ("six_speakers_digits", "six_speakers_digits_pooled"),
)
LEFT_OUT = "six_speakers_digits"


def error_rates(evaluation: Evaluation) -> dict[str, Any]:
    """Error rate of every speaker and of all, as fractions (PER, or 1 - accuracy)."""
    return {
        "all": evaluation.total.error_rate,
        "interval": list(evaluation.total.interval),
        "by_speaker": {name: s.error_rate for name, s in evaluation.by_speaker.items()},
    }


def job_key(recipe: str, seed: int, left_out: str | None) -> str:
    """Key of a job's figures."""
    return f"{recipe}/{seed}/{left_out or '-'}"


def measure(recipe: str, seed: int, left_out: str | None, quick: bool, folder: Path) -> Any:
    """Trains a recipe and measures it.

    Args:
        recipe: Its name.
        seed: Its seed.
        left_out: A speaker to leave out of training and dev.
        quick: One epoch per stage.
        folder: Where runs go; a run is removed when it has been measured.
    """
    changes = [f"seed={seed}"]
    if left_out:
        changes.append(f"corpus.held_out_speakers=[{left_out}]")
    if quick:
        stages = load_recipe(recipe).training.stages
        changes += [f"training.stages.{stage.name}.epochs=1" for stage in stages]
        changes.append("corpus.max_utterances=30")
    out = folder / f"{recipe}_{seed}_{left_out}"
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    trained = train(recipe, out, changes=changes)
    figures = error_rates(trained.evaluation)
    figures["seconds"] = time.perf_counter() - start
    figures["weights"] = sum(p.numel() for p in trained.run.recognizer.parameters())
    report = trained.routing.report
    experts = trained.run.recognizer.expert_names
    if len(experts) > 1:
        figures["routing"] = {
            "speakers": list(report.speakers),
            "experts": list(report.experts),
            "weights": np.asarray(report.weights).tolist(),
        }
    if len(experts) > 1 and left_out is None:
        figures["experts"] = {
            name: error_rates(evaluate(trained.run, expert=name))["by_speaker"] for name in experts
        }
    shutil.rmtree(out)
    return figures


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/benchmarks.md."""
    parts = _mixture_against_pooled(figures), _matrices(figures), _left_out(figures)
    return "\n".join(parts)


def _runs(figures: dict[str, Any], recipe: str) -> list[dict[str, Any]]:
    """Figures of a recipe's seeds, trained on all speakers."""
    return [f for key, f in figures.items() if key.split("/")[::2] == [recipe, "-"]]


def _percent(values: list[float]) -> str:
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{spread}"


def _prediction(values: list[float]) -> str:
    """Where the next run is expected, with 95 % probability if runs are normally distributed."""
    from scipy.stats import t

    number = len(values)
    half = t.ppf(0.975, number - 1) * stdev(values) * (1 + 1 / number) ** 0.5
    low, high = max(0.0, mean(values) - half), mean(values) + half
    return (
        f"The runs make {100 * min(values):.2f} to {100 * max(values):.2f} %; that of another seed "
        f"or machine is expected between {100 * low:.2f} and {100 * high:.2f} % (95 % prediction "
        "interval)."
    )


def _mixture_against_pooled(figures: dict[str, Any]) -> str:
    text = (
        "## The mixture against one net for all\n\nMean ± standard deviation over seeds. "
        "Training (with evaluation and report) on one thread, two\nruns at a time. A mixture "
        "uses every expert, so all its weights are active.\n"
    )
    for recipe in ("hampshire_waibel", "six_speakers_digits"):
        mixture, pooled = _runs(figures, recipe), _runs(figures, f"{recipe}_pooled")
        if not mixture or not pooled:
            continue
        speakers = list(mixture[0]["by_speaker"])
        matched = [m["experts"][s][s] for m in mixture for s in speakers]
        rows = [
            [
                name,
                *[_percent([f["by_speaker"][s] for f in runs]) for s in speakers],
                _percent([f["all"] for f in runs]),
                f"{runs[0]['weights']:,}",
                f"{mean(f['seconds'] for f in runs):.0f}",
            ]
            for name, runs in (("mixture", mixture), ("pooled", pooled))
        ]
        text += f"\n### `{recipe}` ({len(mixture)} seeds; pooled {len(pooled)})\n\n"
        text += table(["error, %", *speakers, "all", "weights", "training, s"], rows)
        text += f"\nEach speaker's own expert alone: {100 * mean(matched):.2f} % errors."
        if len(mixture) > 1:
            text += f" {_prediction([f['all'] for f in mixture])}"
        text += "\n"
    return text


def _matrices(figures: dict[str, Any]) -> str:
    text = (
        "## Every expert on every speaker\n\nError in per cent of a single expert (rows) on each "
        "speaker's test split\n(columns), mean over seeds; then the mean gate weight of each "
        "expert, in per cent.\n"
    )
    for recipe in ("hampshire_waibel", "six_speakers_digits"):
        runs = _runs(figures, recipe)
        if not runs:
            continue
        speakers = list(runs[0]["by_speaker"])
        experts = list(runs[0]["experts"])
        errors = [
            [e, *[f"{100 * mean([r['experts'][e][s] for r in runs]):.1f}" for s in speakers]]
            for e in experts
        ]
        text += f"\n### `{recipe}`\n\n" + table(["expert \\ speaker", *speakers], errors)
        for number, run in enumerate(runs[:3]):
            routing = run["routing"]
            weights = [
                [speaker, *[f"{100 * w:.0f}" for w in row]]
                for speaker, row in zip(routing["speakers"], routing["weights"], strict=True)
            ]
            text += f"\nGate, seed {number} (speakers down, experts across):\n\n"
            text += table(["speaker \\ expert", *routing["experts"]], weights)
    return text


def _left_out(figures: dict[str, Any]) -> str:
    rates: dict[str, list[float]] = {}
    for key, figure in figures.items():
        recipe, _, speaker = key.split("/")
        if recipe == LEFT_OUT and speaker != "-":
            rates.setdefault(speaker, []).append(figure["by_speaker"][speaker])
    if not rates:
        return ""
    number = max(map(len, rates.values()))
    row = ["mixture of five", *map(_percent, rates.values()), _percent(_means(rates))]
    return (
        "## Unseen speakers\n\nPER in per cent of each FSDD speaker when left out of training and "
        "dev, with the five experts\nof the other speakers "
        f"({number} seed{'s' if number > 1 else ''}).\n\n"
        + table(["PER, %", *rates, "mean"], [row])
    )


def _means(rates: dict[str, list[float]]) -> list[float]:
    """Mean over speakers, for each seed that all of them have."""
    return [mean(of_seed) for of_seed in zip(*rates.values(), strict=False)]


def main() -> None:
    """Runs what is missing, prints each figure, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch a stage")
    parser.add_argument("--seeds", type=int, default=10, help="of the mixtures")
    parser.add_argument("--pooled-seeds", type=int, default=3, help="of their baselines")
    parser.add_argument("--left-out-seeds", type=int, default=5, help="for each speaker")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--fsdd", type=Path, help="published FSDD folder, to prepare it from")
    arguments = parser.parse_args()
    name = "six_speakers_quick" if arguments.quick else "six_speakers"
    prepare_corpus("announcers")
    prepare_corpus("fsdd", arguments.fsdd) if arguments.fsdd else load_corpus("fsdd")
    mixtures, pooled, left_out = (
        range(1 if arguments.quick else number)
        for number in (arguments.seeds, arguments.pooled_seeds, arguments.left_out_seeds)
    )
    plan: list[tuple[str, int, str | None]] = [
        (recipe, seed, None)
        for recipes, seeds in zip(zip(*PAIRS, strict=True), (mixtures, pooled), strict=True)
        for recipe in recipes
        for seed in seeds
    ]
    plan += [
        (LEFT_OUT, seed, speaker) for seed in left_out for speaker in load_corpus("fsdd").speakers
    ]
    figures = results.read(name)
    missing = [job for job in plan if job_key(*job) not in figures]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, context, workers.begin, (1,)) as pool:
        folder = Path("runs/benchmarks")
        futures = {pool.submit(measure, *job, arguments.quick, folder): job for job in missing}
        for future in as_completed(futures):
            figures[job_key(*futures[future])] = future.result()
            results.keep(name, figures)
            print(f"done: {job_key(*futures[future])}", flush=True)
    for job in plan:
        row = figures[job_key(*job)]
        rate = row["by_speaker"][job[2]] if job[2] else row["all"]
        print(f"{job_key(*job):<55}{100 * rate:6.2f} % errors", flush=True)
    if not arguments.quick:
        page.write()


if __name__ == "__main__":
    main()
