"""Time of a training step by kind of operation, and training throughput.

``python -m benchmarks.training_step`` profiles the stages of ``six_speakers_digits`` and its pooled
baseline. The share is of self CPU time in matrix products and convolutions; frames are 10 ms frames
of real speech, padding not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import page, results
from benchmarks.results import table
from phoneme_moe.corpora import load_corpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.data.speakers import corpus_speakers
from phoneme_moe.decoding.ctc_crf import ORDER
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.recipe import Recipe, load_recipe
from phoneme_moe.training.cached_experts import (
    expert_posteriors_are_constant,
    with_expert_posteriors,
)
from phoneme_moe.training.expert_weights import single_expert
from phoneme_moe.training.loaders import ExampleBatches
from phoneme_moe.training.module import StageModule
from phoneme_moe.training.sampler import BalancedBatches
from phoneme_moe.training.stages import build_recognizer, keep_freed_memory

ARITHMETIC = (
    "aten::mm",
    "aten::bmm",
    "aten::addmm",
    "aten::baddbmm",
    "aten::_grouped_mm",
    "convolution",
)


def finish(device: str) -> None:
    """Waits until a GPU has finished; on a CPU there is nothing to wait for."""
    if device == "cuda":
        torch.cuda.synchronize()


def measure_stage(recipe: Recipe, index: int, steps: int, device: str = "cpu") -> dict[str, Any]:
    """Times optimiser steps of one stage, and profiles them on a processor.

    Args:
        recipe: A recipe on a prepared corpus.
        index: Which of its stages.
        steps: Steps to time; the median is taken.
        device: ``cpu`` or ``cuda``.
    """
    corpus = load_corpus(recipe.corpus.name)
    recognizer = build_recognizer(recipe, corpus)
    speakers = corpus_speakers(recipe, corpus)
    examples = load_examples(recipe, corpus, "train", recognizer, speakers)
    stage = recipe.training.stages[index]
    if stage.route == "shared":
        recognizer = single_expert(recognizer, recipe)
    if expert_posteriors_are_constant(stage, recipe):
        examples = list(with_expert_posteriors(examples, recognizer))
    batches = list(BalancedBatches(examples, recipe.training.batch_size, 0))
    data = ExampleBatches(examples, recognizer)
    ngram = None
    if stage.objective == "crf":
        references = [example.phonemes for example in examples]
        ngram = PhonemeNgram.estimate(references, recognizer.phonemes.symbols, ORDER)
    module = StageModule(recognizer, recipe, index, ngram).to(device)
    module.on_train_start()
    module.freeze_parts()
    trainable = [p for p in recognizer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-3, fused=True)

    mixed = recipe.training.precision == "bf16-mixed"

    def step(number: int) -> int:
        batch = data[batches[number % len(batches)]].to(torch.device(device))
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            loss = module.training_step(batch, number)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(trainable, recipe.training.gradient_clip)
        optimizer.step()
        finish(device)
        return int(batch.mask.sum())

    for number in range(5):
        step(number)
    rates, seconds = [], []
    for number in range(steps):
        start = time.perf_counter()
        frames = step(number)
        seconds.append(time.perf_counter() - start)
        rates.append(frames / seconds[-1])
    figures: dict[str, Any] = {
        "recipe": recipe.name,
        "stage": stage.name,
        "step_ms": 1000 * statistics.median(seconds),
        "frames_per_second": statistics.median(rates),
    }
    if device != "cpu":
        return figures
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for number in range(min(steps, 15)):
            step(number)
    totals = {e.key: e.self_cpu_time_total for e in profiler.key_averages()}
    arithmetic = sum(t for key, t in totals.items() if any(a in key for a in ARITHMETIC))
    return figures | {"arithmetic_share": arithmetic / sum(totals.values())}


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/benchmarks.md."""
    rows = [
        [
            f"`{row['recipe']}`",
            row["stage"],
            f"{row['step_ms']:.1f}",
            f"{row['frames_per_second']:,.0f}",
            f"{100 * row['arithmetic_share']:.0f}",
        ]
        for row in figures["stages"]
    ]
    return (
        f"## Time of a training step\n\nOn {figures['machine']}. Frames are real 10 ms "
        "frames; arithmetic is the share of self CPU time in\nmatrix products and convolutions "
        "(every TDNN layer is one batched product).\n\n"
        + table(["recipe", "stage", "ms per step", "frames/s", "arithmetic, %"], rows)
    )


def show(row: dict[str, Any]) -> None:
    """Prints the figures of a stage."""
    print(
        f"{row['recipe']:<28}{row['stage']:<10}{row['step_ms']:8.1f} ms/step"
        f"{row['frames_per_second']:12,.0f} frames/s"
        f"{100 * row['arithmetic_share']:8.1f} % arithmetic",
        flush=True,
    )


def main() -> None:
    """Measures every stage, prints a table, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few steps, nothing kept")
    arguments = parser.parse_args()
    keep_freed_memory()
    rows = []
    for name in ("six_speakers_digits", "six_speakers_digits_pooled"):
        recipe = load_recipe(name)
        for index in range(len(recipe.training.stages)):
            row = measure_stage(recipe, index, 10 if arguments.quick else 60)
            rows.append(row)
            show(row)
    if not arguments.quick:
        results.keep("training_step", {"machine": results.machine(), "stages": rows})
        page.write()


if __name__ == "__main__":
    main()
