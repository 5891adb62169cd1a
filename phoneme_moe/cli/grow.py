"""``phoneme-moe grow``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer


def grow(
    run: Annotated[Path, typer.Argument(help="A run folder with sparse layers.")],
    experts: Annotated[int, typer.Option(help="How many to add to each sparse layer.")],
    out: Annotated[
        Path | None, typer.Option(help="The new run folder.", show_default="RUN_grown")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="For how long training goes on.")] = 10,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Its peak.", show_default="half of the last stage's"),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Add experts to a trained run, copies of its busiest, and train on."""
    from phoneme_moe.cli.train import print_trained
    from phoneme_moe.errors import TrainingInterruptedError
    from phoneme_moe.pipeline import train
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.training.grow import prepare_grown

    folder = out if out is not None else run.with_name(f"{run.resolve().name}_grown")
    recipe = prepare_grown(load_run(run), folder, experts, epochs, learning_rate)
    try:
        trained = train(recipe, folder, resume=True, device=device)
    except (TrainingInterruptedError, KeyboardInterrupt):
        again = ["phoneme-moe", "train", str(folder / "recipe.yaml"), "--out", str(folder)]
        print(f"interrupted; go on with: {shlex.join([*again, '--resume'])}", file=sys.stderr)
        raise typer.Exit(130) from None
    print_trained(trained)
