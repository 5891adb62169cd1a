"""``phoneme-moe grow``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.completion import run_names
from phoneme_moe.cli.options import Device, Loggers


def grow(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder or shipped model with sparse layers.", autocompletion=run_names
        ),
    ],
    experts: Annotated[int, typer.Option(help="Number of experts to add to each sparse layer.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="New run folder.",
            show_default="RUN_grown; runs/RUN_grown for a shipped model",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs of further training.")] = 10,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Peak learning rate.", show_default="half of the last stage's"),
    ] = None,
    logger: Loggers = None,
    device: Device = "auto",
) -> None:
    """Add experts (copies of those with the greatest load) and continue training."""
    from phoneme_moe.cli.train import run_training
    from phoneme_moe.models import shipped_name
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.training.grow import prepare_grown

    loaded = load_run(run)
    if out is None:
        shipped = shipped_name(loaded.folder)
        base = run if shipped is None else Path("runs", shipped)
        out = base.with_name(f"{base.resolve().name}_grown")
    recipe = prepare_grown(loaded, out, experts, epochs, learning_rate)
    run_training(recipe, out, True, device, logger or ())
