"""``phoneme-moe model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.options import RunFolder


def model(
    run: RunFolder,
    json: Annotated[Path | None, typer.Option(help="Also write the card to this file.")] = None,
) -> None:
    """Show the model card of a run: data, size, error rate, calibration, speed, licence."""
    from rich.table import Table

    from phoneme_moe.evaluation.model_card import model_card
    from phoneme_moe.files.writing import write_json
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.console import PlainConsole

    card = model_card(load_run(run))
    if json is not None:
        write_json(json, card.model_dump())
    table = Table(box=None, show_header=False, pad_edge=False, title=str(run), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in card.lines():
        table.add_row(name, value)
    PlainConsole().print(table)
