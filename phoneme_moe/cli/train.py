"""``phoneme-moe train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoneme_moe.cli.options import Device
from phoneme_moe.terminal import print_error

if TYPE_CHECKING:
    from phoneme_moe.pipeline import Trained
    from phoneme_moe.recipe import Recipe


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a built-in recipe, or a YAML file.")],
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/NAME")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: section.key=value."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Train a recipe into a run folder, evaluate it and report its routing."""
    from phoneme_moe.recipe import load_recipe

    # Before the slow imports, so that a misspelt key is reported at once.
    resolved = load_recipe(recipe, changes or [])
    run_training(resolved, recipe, out, resume, device, changes or [])


def run_training(
    recipe: Recipe,
    name: str,
    out: Path | None,
    resume: bool,
    device: str,
    changes: list[str],
) -> None:
    """Trains and prints the results; when interrupted, prints the command that resumes.

    Args:
        recipe: The recipe with all changes.
        name: Name or path of the recipe, for that command.
        out: The run folder; by default ``runs/NAME``.
        resume: Whether to continue an interrupted training.
        device: ``cpu``, ``cuda`` or ``auto``.
        changes: Changed settings, for that command.
    """
    from phoneme_moe.errors import TrainingInterruptedError
    from phoneme_moe.pipeline import train as train_recipe

    try:
        trained = train_recipe(recipe, out, resume=resume, device=device)
    except (TrainingInterruptedError, KeyboardInterrupt):
        command = ["phoneme-moe", "train", name, *(["--out", str(out)] if out else [])]
        command += [part for change in changes for part in ("--set", change)]
        command += ["--device", device] if device != "auto" else []
        command += ["--resume"]
        print_error(f"interrupted; resume with: {shlex.join(command)}")
        raise typer.Exit(130) from None
    _print(trained)


def _print(trained: Trained) -> None:
    from phoneme_moe.cli.tables import print_evaluation, print_files, print_routing
    from phoneme_moe.console import PlainConsole

    console = PlainConsole()
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
