"""The mixture against one net for all, and every expert on every speaker.

``python -m benchmarks.six_speakers`` trains ``hampshire_waibel`` and ``six_speakers_digits`` with
their pooled baselines, three seeds each, and on FSDD both with each speaker left out of training.
Interrupt it at will: what is finished is not done again. ``--quick`` uses one seed and an epoch a
stage, to see that it runs.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import page, results
from phoneme_moe.corpora import load_corpus, prepare_corpus
from phoneme_moe.evaluation import Evaluation, evaluate
from phoneme_moe.recipe import load_recipe
from phoneme_moe.training.train import train

PAIRS = (
    ("hampshire_waibel", "hampshire_waibel_pooled"),
    ("six_speakers_digits", "six_speakers_digits_pooled"),
)
LEFT_OUT = PAIRS[1]


def error_rates(evaluation: Evaluation) -> dict[str, Any]:
    """Error rate of every speaker and of all, as fractions (PER, or 1 - accuracy)."""
    return {
        "all": evaluation.total.error_rate,
        "interval": list(evaluation.total.interval),
        "by_speaker": {name: s.error_rate for name, s in evaluation.by_speaker.items()},
    }


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
    trained = train(recipe, out, changes=changes)
    figures = error_rates(trained.evaluation)
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
    parser.add_argument("--fsdd", type=Path, help="published FSDD folder, to prepare it from")
    arguments = parser.parse_args()
    name = "six_speakers_quick" if arguments.quick else "six_speakers"
    prepare_corpus("announcers")
    prepare_corpus("fsdd", arguments.fsdd) if arguments.fsdd else load_corpus("fsdd")
    seeds = range(1 if arguments.quick else arguments.seeds)
    plan = [(recipe, seed, None) for seed in seeds for pair in PAIRS for recipe in pair]
    for speaker in load_corpus("fsdd").speakers:
        plan += [(recipe, 0, speaker) for recipe in LEFT_OUT]
    figures = results.read(name)
    for recipe, seed, left_out in plan:
        key = f"{recipe}/{seed}/{left_out or '-'}"
        if key not in figures:
            figures[key] = measure(recipe, seed, left_out, arguments.quick, Path("runs/benchmarks"))
            results.keep(name, figures)
        rate = figures[key]["by_speaker"][left_out] if left_out else figures[key]["all"]
        print(f"{key:<55}{100 * rate:6.2f} % errors", flush=True)
    if not arguments.quick:
        page.write()


if __name__ == "__main__":
    main()
