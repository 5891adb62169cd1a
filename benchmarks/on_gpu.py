"""Speed of the ladder's recipes and of the sparse layer on a GPU.

``python -m benchmarks.on_gpu`` times training steps and recognition of every recipe of the ladder
in bf16, and one sparse layer from 4 to 256 experts with ``grouped_mm`` and as a loop over experts.
Without a GPU it measures nothing. ``--quick --device cpu`` runs the same code on a CPU with few
steps, and keeps nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import page, results
from benchmarks.flat_cost import (
    DTYPES,
    FRAMES,
    HIDDEN,
    SIZES,
    TOP_K,
    UTTERANCES,
    WIDTH,
    OurLayer,
    SparseLayer,
)
from benchmarks.results import table
from benchmarks.sparse_ladder import RUNGS
from benchmarks.training_step import finish, measure_stage
from phoneme_moe.corpora import load_corpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.inference import recognize_examples
from phoneme_moe.recipe import Recipe, load_recipe
from phoneme_moe.training.stages import build_recognizer

NAME = "on_gpu"
GROUPED, LOOP = "grouped_mm", "a loop over experts"


class LoopedLayer(SparseLayer):
    """The same layer as a loop: one expert after the other, each on the frames routed to it."""

    def forward(self, frames: Tensor) -> Tensor:
        """Shape (utterances, frames, width), as the input."""
        flat, experts = frames.flatten(0, 1), self.experts
        routed = self.route(flat)
        out = torch.zeros_like(flat)
        for expert in range(experts.num_experts):
            rows = (routed.expert == expert).nonzero()[:, 0]
            token = routed.token[rows]
            hidden = flat[token] @ experts.weight_in[expert] + experts.bias_in[expert]
            outputs = torch.relu(hidden) @ experts.weight_out[expert] + experts.bias_out[expert]
            out = out.index_add(0, token, (outputs * routed.weight[rows, None]).to(out.dtype))
        return out.view(frames.shape)


def time_layer(layer: nn.Module, dtype: torch.dtype, device: str, rounds: int) -> float:
    """Milliseconds of forward and backward of a layer, median of rounds."""
    shape = (UTTERANCES, FRAMES, WIDTH)
    frames, gradient = torch.randn(shape, device=device), torch.randn(shape, device=device)
    seconds = []
    for _ in range(rounds + 2):
        layer.zero_grad(set_to_none=True)
        inputs = frames.clone().requires_grad_()
        finish(device)
        began = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = layer(inputs)
        out.backward(gradient.to(out.dtype))
        finish(device)
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[2:])


def measure_layers(sizes: tuple[int, ...], device: str, rounds: int) -> dict[str, Any]:
    """Both implementations at all sizes, by dtype, implementation and number of experts."""
    torch.manual_seed(0)
    return {
        dtype_name: {
            name: {
                str(size): time_layer(kind(size).to(device), dtype, device, rounds)
                for size in sizes
            }
            for name, kind in ((GROUPED, OurLayer), (LOOP, LoopedLayer))
        }
        for dtype_name, dtype in DTYPES.items()
    }


def measure_recipe(recipe: Recipe, device: str, steps: int) -> dict[str, Any]:
    """Frames per second of training and of recognition, and peak memory of a training step."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    row = measure_stage(recipe, len(recipe.training.stages) - 1, steps, device)
    if device == "cuda":
        row["memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    recognizer = build_recognizer(recipe, load_corpus(recipe.corpus.name)).to(device).eval()
    examples = load_examples(recipe, load_corpus(recipe.corpus.name), "test", recognizer)
    rates = []
    for _ in range(3):
        finish(device)
        began = time.perf_counter()
        with torch.autocast(device, torch.bfloat16):
            for _ in recognize_examples(recognizer, examples):
                pass
        finish(device)
        rates.append(sum(len(e.features) for e in examples) / (time.perf_counter() - began))
    return row | {"inference_frames_per_second": statistics.median(rates)}


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/benchmarks.md."""
    rows = [
        [
            f"`{row['recipe']}`",
            f"{row['step_ms']:.1f}",
            f"{row['frames_per_second']:,.0f}",
            f"{row['inference_frames_per_second']:,.0f}",
            f"{row['memory_mb']:,.0f}" if "memory_mb" in row else "-",
        ]
        for row in figures["recipes"]
    ]
    head = ["recipe", "ms per step", "training frames/s", "inference frames/s", "memory, MB"]
    text = (
        f"## On a GPU\n\n`python -m benchmarks.on_gpu`, on {figures['card']}, "
        f"{figures['machine']}. Recipes of the ladder in bf16, 24 utterances per step; frames are "
        f"real 10 ms frames.\n\n{table(head, rows)}\nOne sparse layer with its router: {WIDTH} "
        f"features, top-{TOP_K}, experts of {HIDDEN} hidden units,\n{UTTERANCES * FRAMES:,} "
        "frames; ms of forward and backward.\n"
    )
    for dtype, kinds in figures["layers"].items():
        sizes = list(kinds[GROUPED])
        times = [[name, *(f"{kinds[name][size]:.2f}" for size in sizes)] for name in kinds]
        faster = [f"{kinds[LOOP][size] / kinds[GROUPED][size]:.1f}" for size in sizes]
        rows = [*times, ["times as fast", *faster]]
        text += "\n" + table([f"experts, {dtype}", *sizes], rows)
    return text


def main() -> None:
    """Measures, prints the section, keeps the figures; without a GPU, says so."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="little of everything, nothing kept")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", nargs="*", default=RUNGS, metavar="RECIPE", help="these recipes")
    arguments = parser.parse_args()
    device: str = arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: nothing is measured")
        return
    if device == "cpu" and not arguments.quick:
        parser.error("--device cpu: expected --quick too; other benchmarks are for processors")
    changes = ["corpus.max_utterances=1"] if arguments.quick else []
    sizes, rounds, steps = (SIZES[:2], 2, 2) if arguments.quick else (SIZES, 30, 60)
    figures: dict[str, Any] = {
        "card": torch.cuda.get_device_name() if device == "cuda" else "no GPU",
        "machine": results.machine(),
        "layers": measure_layers(sizes, device, rounds),
        "recipes": [
            measure_recipe(load_recipe(name, changes), device, steps) for name in arguments.only
        ],
    }
    print(section(figures))
    if not arguments.quick:
        results.keep(NAME, figures)
        page.write()


if __name__ == "__main__":
    main()
