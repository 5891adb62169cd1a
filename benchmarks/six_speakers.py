"""The mixture against one net for all, and every expert on every speaker.

``python -m benchmarks.six_speakers`` trains ``hampshire_waibel`` and ``six_speakers_digits`` with
their pooled baselines, three seeds each, and on FSDD the mixture with each speaker left out.
Interrupt it at will: what is finished is not done again. ``--quick`` uses one seed and an epoch a
stage, to see that it runs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import page, results, workers
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
    """What a job's figures are kept under."""
    return f"{recipe}/{seed}/{left_out or '-'}"


def measure(recipe: str, seed: int, left_out: str | None, quick: bool, folder: Path) -> Any:
    """Trains a recipe and takes its figures.

    Args:
        recipe: Its name.
        seed: Its seed.
        left_out: A speaker to leave out of training and dev.
        quick: One epoch a stage.
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


def main() -> None:
    """Runs what is missing, prints each figure, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch a stage")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--fsdd", type=Path, help="published FSDD folder, to prepare it from")
    arguments = parser.parse_args()
    name = "six_speakers_quick" if arguments.quick else "six_speakers"
    prepare_corpus("announcers")
    prepare_corpus("fsdd", arguments.fsdd) if arguments.fsdd else load_corpus("fsdd")
    seeds = range(1 if arguments.quick else arguments.seeds)
    plan: list[tuple[str, int, str | None]] = [
        (recipe, seed, None) for seed in seeds for pair in PAIRS for recipe in pair
    ]
    for speaker in load_corpus("fsdd").speakers:
        plan.append((LEFT_OUT, 0, speaker))
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
