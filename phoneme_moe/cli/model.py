"""``phoneme-moe model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.completion import run_names
from phoneme_moe.errors import InputError
from phoneme_moe.system.terminal import print_line


def model(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run folder or shipped model.",
            show_default="list the shipped models",
            autocompletion=run_names,
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the card to this file.")] = None,
) -> None:
    """Show the model card of a run: data, size, error rate, calibration, speed, licence.

    Without a run, list the shipped models, which come with the package.
    """
    from rich.table import Table

    from phoneme_moe.evaluation.model_card import model_card
    from phoneme_moe.files.writing import write_json
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.console import PlainConsole

    if run is None:
        if json is not None:
            raise InputError("--json: expected a run, whose card is written")
        _list_models()
        return
    card = model_card(load_run(run))
    if json is not None:
        write_json(json, card.model_dump())
    table = Table(box=None, show_header=False, pad_edge=False, title=str(run), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in card.lines():
        table.add_row(name, value)
    PlainConsole().print(table)


def _list_models() -> None:
    from phoneme_moe.models import shipped_models
    from phoneme_moe.run_folder import read_recipe

    models = shipped_models()
    if not models:
        print_line("no model comes with this package; train one: phoneme-moe train quick")
    for name, folder in models.items():
        print_line(f"{name}  {read_recipe(folder).description}".rstrip())
