"""``phoneme-moe report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    corpus: Annotated[
        str | None, typer.Option(help="Another prepared corpus than the run's own.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="A sparse layer, such as block_2.", show_default="the last one"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write.", show_default="RUN/report")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Report which experts each speaker routes to: table, page, picture, data."""
    from rich.console import Console

    from phoneme_moe.cli.tables import print_files, print_routing
    from phoneme_moe.report.run import report_run
    from phoneme_moe.run import load_run

    written = report_run(load_run(run, device), split, out, corpus, layer)
    console = Console()
    print_routing(console, written.report)
    print_files(console, {path.suffix.removeprefix("."): path for path in written.files})
