"""Share of a training step spent in matrix products, for dense and sparse encoders.

``python -m benchmarks.step_profile [--sparse NAME ...]`` profiles optimiser steps on
speechocean762, in the precision of the recipes and in float32.
The share is of self CPU time in matrix products and convolutions; the target is at least half.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import torch

from benchmarks import page, results
from benchmarks.results import table
from benchmarks.training_step import measure_stage, show
from phoneme_moe.recipe import load_recipe
from phoneme_moe.training.stages import keep_freed_memory

PRECISIONS = ("bf16-mixed", "32-true")

TARGET = 0.5
"""Least share of a step."""


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/benchmarks.md."""
    rows = [
        [
            f"`{row['recipe']}`",
            row["precision"],
            f"{row['step_ms']:.0f}",
            f"{row['frames_per_second']:,.0f}",
            f"{100 * row['arithmetic_share']:.0f}",
        ]
        for row in figures["rows"]
    ]
    return (
        "## Arithmetic in a training step of an encoder\n\n`python -m benchmarks.step_profile`, on "
        f"{figures['machine']}; 24 utterances per step.\nArithmetic is the share of self CPU "
        f"time in matrix products ({100 * TARGET:.0f} % is the target). The recipes train in "
        "bf16-mixed; "
        "32-true shows\nhow much the units for bfloat16 products (AMX) change the share.\n\n"
        + table(["recipe", "precision", "ms per step", "frames/s", "arithmetic, %"], rows)
    )


def main() -> None:
    """Measures them, prints a table, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few steps, nothing kept")
    parser.add_argument(
        "--sparse", nargs="+", default=["top_2", "learners"], help="the sparse recipes"
    )
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    few = ["corpus.max_utterances=2"] if arguments.quick else []
    rows = []
    for precision, name in itertools.product(PRECISIONS, ("dense", *arguments.sparse)):
        recipe = load_recipe(name, [*few, f"training.precision={precision}"])
        row = measure_stage(recipe, 0, 3 if arguments.quick else 40) | {"precision": precision}
        rows.append(row)
        print(precision, end="  ")
        show(row)
    if not arguments.quick:
        results.keep("step_profile", {"machine": results.machine(), "rows": rows})
        page.write()


if __name__ == "__main__":
    main()
