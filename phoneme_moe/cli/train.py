"""``phoneme-moe train``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from phoneme_moe.pipeline import Trained


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")],
    out: Annotated[
        Path | None, typer.Option(help="The run folder.", show_default="runs/NAME")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier try stopped.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: section.key=value."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Train a recipe into a run folder, then evaluate it and report its routing."""
    from phoneme_moe.recipe import load_recipe

    # Before the slow imports: a misspelt key should be said at once.
    resolved = load_recipe(recipe, changes or [])
    from phoneme_moe.errors import TrainingInterruptedError
    from phoneme_moe.pipeline import train as train_recipe

    try:
        trained = train_recipe(resolved, out, resume=resume, device=device)
    except (TrainingInterruptedError, KeyboardInterrupt):
        again = ["phoneme-moe", "train", recipe, *(["--out", str(out)] if out else [])]
        again += [part for change in changes or [] for part in ("--set", change)]
        again += ["--device", device] if device != "auto" else []
        print(f"interrupted; go on with: {shlex.join([*again, '--resume'])}", file=sys.stderr)
        raise typer.Exit(130) from None
    print_trained(trained)


def print_trained(trained: Trained) -> None:
    """Prints what a run that has just been trained is good for."""
    from rich.console import Console

    from phoneme_moe.cli.tables import print_evaluation, print_files, print_routing

    console = Console()
    print_evaluation(console, trained.evaluation)
    print_routing(console, trained.routing.report)
    folder = trained.run.folder
    print_files(
        console,
        {
            "run": folder,
            "report": folder / "report" / "report.html",
            "evaluation": folder / "evaluation.json",
        },
    )
