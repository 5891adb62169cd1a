"""``phoneme-moe train``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoneme_moe.cli.completion import recipe_names
from phoneme_moe.cli.options import Device, Loggers

if TYPE_CHECKING:
    from phoneme_moe.pipeline import Trained
    from phoneme_moe.recipe import Recipe


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="Name of a built-in recipe, or a YAML file.", autocompletion=recipe_names
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/NAME")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: section.key=value."),
    ] = None,
    logger: Loggers = None,
    device: Device = "auto",
) -> None:
    """Train a recipe into a run folder, evaluate it and report its routing."""
    from phoneme_moe.recipe import load_recipe

    # Before the slow imports, so that a misspelt key is reported at once.
    resolved = load_recipe(recipe, changes or [])
    run_training(resolved, out, resume, device, logger or ())


def run_training(
    recipe: Recipe, out: Path | None, resume: bool, device: str, loggers: Sequence[str]
) -> None:
    """Trains and prints the results.

    Args:
        recipe: The recipe with all changes.
        out: The run folder; by default ``runs/NAME``.
        resume: Whether to continue an interrupted training.
        device: ``cpu``, ``cuda`` or ``auto``.
        loggers: Experiment trackers besides TensorBoard.
    """
    from phoneme_moe.pipeline import train as train_recipe

    _print(train_recipe(recipe, out, resume=resume, device=device, loggers=loggers))


def _print(trained: Trained) -> None:
    from phoneme_moe.cli.tables import print_evaluation, print_files, print_routing
    from phoneme_moe.system.console import PlainConsole

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
