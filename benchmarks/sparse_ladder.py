"""Every sparse recipe on 125 real speakers against the dense net of the same active compute.

``python -m benchmarks.sparse_ladder`` trains the recipes on speechocean762 and measures them on its
test speakers, all unseen in training. It resumes when interrupted, in the middle of a run too.
``--quick`` uses an epoch of a few utterances, to see that it runs, and keeps nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from benchmarks import ladder_figure, ladder_page, page, results, workers
from phoneme_moe.corpora import PreparedCorpus, load_corpus, prepare_corpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.decoding.scoring import score_utterance
from phoneme_moe.evaluation.calibrate import calibrate
from phoneme_moe.evaluation.quality import BEAM
from phoneme_moe.evaluation.split_outputs import infer_split
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.inference import decode_phonemes, recognize_examples
from phoneme_moe.model.cost import cost_of
from phoneme_moe.recipe import load_recipe
from phoneme_moe.report.collect.observe import collect_routing
from phoneme_moe.report.information import information_about
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.training.stages import train_stages

RUNGS = (
    "dense",
    "top_2",
    "switch",
    "noisy_topk",
    "deepseek",
    "hierarchical",
    "speaker_routed",
    "expert_choice",
    "soft",
    "upcycled",
)
COLLAPSE = ("collapse", "collapse_cured")
LONGEST = ("learners", "learners_dense")
"""Trained for up to two hours for the lowest PER, with more compute than the ladder."""
SEEDS = {"dense": 3, "top_2": 3}
"""More than one for the main comparison: the dense one and the best sparse one."""

FOLDER = Path("runs/sparse_ladder")


def job_key(recipe: str, seed: int) -> str:
    """Key of a job's figures."""
    return f"{recipe}/{seed}"


def measure(recipe_name: str, seed: int, quick: bool, folder: Path) -> dict[str, Any]:
    """Trains a recipe, or resumes it, and measures it.

    Args:
        recipe_name: Its name.
        seed: Its seed.
        quick: One epoch on a few utterances.
        folder: Where runs go; the run is kept.
    """
    changes = [f"seed={seed}"]
    if quick:
        stages = load_recipe(recipe_name).training.stages
        changes += [f"training.stages.{stage.name}.epochs=1" for stage in stages]
        changes.append("corpus.max_utterances=1")
    recipe = load_recipe(recipe_name, changes)
    corpus = load_corpus(recipe.corpus.name)
    out = folder / f"{recipe_name}_{seed}"
    if quick:
        shutil.rmtree(out, ignore_errors=True)
    recognizer = train_stages(recipe, corpus, out, "cpu")
    # Median epoch times the number of epochs: interruptions and other load do not count.
    epoch_seconds = [row["seconds"] for row in read_rows(out / "seconds.csv")]
    seconds = len(epoch_seconds) * statistics.median(epoch_seconds)
    run = LoadedRun(out, recipe, recognizer)
    examples = load_examples(recipe, corpus, "test", recognizer)
    epochs = sum(stage.epochs for stage in recipe.training.stages)
    train = load_examples(recipe, corpus, "train", recognizer)
    trained_frames = epochs * sum(len(example.features) for example in train)
    began = time.perf_counter()
    errors, lengths = count_errors(run, examples)
    elapsed = time.perf_counter() - began
    layers = layers_of(run, examples)  # before calibration sets a wide beam
    calibrated = calibrate(run, corpus)
    beam_errors = count_beam_errors(calibrated, corpus)
    assert recognizer.encoder is not None
    cost = cost_of(recognizer.encoder)
    return {
        "errors": errors,
        "lengths": lengths,
        "per": sum(errors) / sum(lengths),
        "beam": calibrated.decoding.beam or BEAM,
        "shifts": calibrated.decoding.shifts_for(None),
        "errors_beam": beam_errors,
        "per_beam": sum(beam_errors) / sum(lengths),
        "seconds": seconds,
        "epochs": epochs,
        "training_frames_per_second": trained_frames / seconds,
        "inference_frames_per_second": sum(len(e.features) for e in examples) / elapsed,
        "total": cost.total,
        "active": cost.active,
        "multiply_adds": cost.multiply_adds,
        "layers": layers,
        "history": history_of(out),
    }


def count_errors(run: LoadedRun, examples: list[Example]) -> tuple[list[int], list[int]]:
    """Errors of greedy decoding and reference phonemes of each utterance, ordered by its name."""
    counts = {}
    for batch, recognition in recognize_examples(run.recognizer, examples):
        hypotheses = decode_phonemes(run.recognizer, recognition, beam=0)
        for example, hypothesis in zip(batch.examples, hypotheses, strict=True):
            score = score_utterance(example.phonemes, hypothesis)
            counts[example.utterance] = (score.errors, score.num_reference)
    ordered = [counts[name] for name in sorted(counts)]
    return [errors for errors, _ in ordered], [length for _, length in ordered]


def count_beam_errors(run: LoadedRun, corpus: PreparedCorpus) -> list[int]:
    """Errors of each test utterance by beam search with the run's n-gram, ordered by its name.

    The beam is the run's, or the default where it has none.
    """
    test = infer_split(run, corpus, "test", num_shifts=run.decoding.shifts_for(run.decoding.beam))
    hypotheses = test.decode(run.decoding, run.decoding.beam or BEAM)
    decode = run.recognizer.phonemes.decode
    counts = {
        example.utterance: score_utterance(example.phonemes, decode(hypothesis.outputs)).errors
        for example, hypothesis in zip(test.examples, hypotheses, strict=True)
    }
    return [counts[name] for name in sorted(counts)]


def layers_of(run: LoadedRun, examples: list[Example]) -> list[dict[str, Any]]:
    """Load, dead experts, and mutual information with speaker and phoneme, layer by layer."""
    assert run.recognizer.encoder is not None
    layers = []
    for layer in run.recognizer.encoder.sparse_layers:
        table = collect_routing(run.recognizer, examples, layer.name)
        load = torch.from_numpy(table.weights).mean(dim=0)
        num_experts = len(load)
        speaker, phoneme = information_about(table)
        layers.append(
            {
                "layer": layer.name,
                "variation": float(load.std(correction=0) / load.mean()),
                "dead": int((load < 0.1 / num_experts).sum()),
                "experts": num_experts,
                "speaker_bits": speaker,
                "phoneme_bits": phoneme,
            }
        )
    return layers


def history_of(run: Path) -> list[dict[str, float]]:
    """Error on dev and variation of the load, epoch by epoch."""
    history = []
    for row in read_rows(run / "metrics.csv"):
        layers = [name.split("/")[0] for name in row if name.endswith("/variation")]
        history.append(
            {
                "dev_error": row["dev_error"],
                **{
                    key: max((row[f"{layer}/{key}"] for layer in layers), default=0.0)
                    for key in ("variation", "dead")
                },
            }
        )
    return history


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/benchmarks.md; draws the figure beside it."""
    ladder_figure.draw(figures, RUNGS, page.DOCS / "images")
    parts = (
        ladder_page.section(figures, RUNGS),
        ladder_page.longest_section(figures, LONGEST),
        ladder_page.collapse_section(figures, COLLAPSE),
    )
    return "\n".join(parts)


def main() -> None:
    """Runs what is missing, prints each figure, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one epoch of a few utterances")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--only", nargs="*", help="these recipes")
    parser.add_argument(
        "--seeds", nargs="*", default=[], metavar="NAME=N", help="more seeds of a recipe"
    )
    parser.add_argument("--from", dest="source", type=Path, help="published speechocean762 folder")
    arguments = parser.parse_args()
    name = "sparse_ladder_quick" if arguments.quick else "sparse_ladder"
    if arguments.source:
        prepare_corpus("speechocean762", arguments.source)
    else:
        load_corpus("speechocean762")
    seeds = SEEDS | {key: int(number) for key, number in (s.split("=") for s in arguments.seeds)}
    plan = [(recipe, 0) for recipe in (*RUNGS, *COLLAPSE, *LONGEST)]
    plan += [(recipe, seed) for recipe, count in seeds.items() for seed in range(1, count)]
    if arguments.only:
        plan = [job for job in plan if job[0] in arguments.only]
    figures = {} if arguments.quick else results.read(name)
    missing = [job for job in plan if job_key(*job) not in figures]
    folder = FOLDER.with_name(name)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, context, workers.begin, (1,)) as pool:
        futures = {pool.submit(measure, *job, arguments.quick, folder): job for job in missing}
        for future in as_completed(futures):
            figures[job_key(*futures[future])] = future.result()
            if not arguments.quick:
                # Another process may have added figures meanwhile.
                figures = results.read(name) | figures
                results.keep(name, figures)
            print(f"done: {job_key(*futures[future])}", flush=True)
    for job in plan:
        row = figures[job_key(*job)]
        print(
            f"{job_key(*job):<20}{100 * row['per']:7.2f} % PER{row['total']:12,} weights"
            f"{row['multiply_adds']:11,} multiply-adds{row['seconds']:8.0f} s",
            flush=True,
        )
    if not arguments.quick:
        page.write()


if __name__ == "__main__":
    main()
