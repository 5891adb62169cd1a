"""``phoneme-moe grow``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.options import Device


def grow(
    run: Annotated[Path, typer.Argument(help="Run folder of a model with sparse layers.")],
    experts: Annotated[int, typer.Option(help="Number of experts to add to each sparse layer.")],
    out: Annotated[
        Path | None, typer.Option(help="New run folder.", show_default="RUN_grown")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs of further training.")] = 10,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Peak learning rate.", show_default="half of the last stage's"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Add experts (copies of those with the greatest load) and continue training."""
    from phoneme_moe.cli.train import run_training
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.training.grow import prepare_grown

    folder = out if out is not None else run.with_name(f"{run.resolve().name}_grown")
    recipe = prepare_grown(load_run(run), folder, experts, epochs, learning_rate)
    run_training(recipe, folder, True, device)
