"""``phoneme-moe train``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoneme_moe.cli.completion import recipe_names
from phoneme_moe.cli.ending import command_to_go_on
from phoneme_moe.cli.options import Device, Loggers
from phoneme_moe.errors import InputError

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
    devices: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes on this machine that train together.", show_default="1"
        ),
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Machines that train together.", show_default="1")
    ] = None,
    spread_experts: Annotated[
        bool,
        typer.Option(
            "--spread-experts",
            help="Each process holds a part of the experts of sparse layers, not a copy of all.",
        ),
    ] = False,
    shard_encoder: Annotated[
        bool,
        typer.Option(
            "--shard-encoder",
            help="Each process holds a shard of a fine-tuned encoder's weights, not a copy.",
        ),
    ] = False,
) -> None:
    """Train a recipe into a run folder, evaluate it and report its routing."""
    from phoneme_moe.recipe import load_recipe
    from phoneme_moe.system.launch import (
        KilledError,
        check_number_of_ranks,
        is_one_of_several,
        start_ranks,
    )

    # Before the slow imports, so that a misspelt key is reported at once.
    resolved = load_recipe(recipe, changes or [])
    if is_one_of_several():
        check_number_of_ranks(devices, nodes)
    elif (devices or 1) * (nodes or 1) > 1:
        from phoneme_moe.corpora import ensure_corpus

        ensure_corpus(resolved.corpus.name)  # with all cores, and before anything else can fail
        try:
            start_ranks(sys.argv[1:], devices or 1, nodes or 1)
        except KilledError as killed:
            raise InputError(f"{killed}; go on with: {command_to_go_on(sys.argv)}") from killed
        return
    run_training(resolved, out, resume, device, logger or (), spread_experts, shard_encoder)


def run_training(
    recipe: Recipe,
    out: Path | None,
    resume: bool,
    device: str,
    loggers: Sequence[str],
    spread_experts: bool = False,
    shard_encoder: bool = False,
) -> None:
    """Trains and prints the results.

    Args:
        recipe: The recipe with all changes.
        out: The run folder; by default ``runs/NAME``.
        resume: Whether to continue an interrupted training.
        device: ``cpu``, ``cuda`` or ``auto``.
        loggers: Experiment trackers besides TensorBoard.
        spread_experts: Whether each of several processes holds a part of the experts.
        shard_encoder: Whether each of them holds a shard of a fine-tuned encoder's weights.
    """
    from phoneme_moe.pipeline import train_together
    from phoneme_moe.system.launch import joined

    with joined(device):
        trained = train_together(
            recipe,
            out,
            resume=resume,
            device=device,
            loggers=loggers,
            spread_experts=spread_experts,
            shard_encoder=shard_encoder,
        )
        if trained is not None:
            _print(trained)


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
