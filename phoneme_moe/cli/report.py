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
    utterance: Annotated[
        list[str] | None,
        typer.Option(help="Show this utterance in time as well; may be given again."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write.", show_default="RUN/report")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Report who routes where, whether that is more than chance, and what it is worth.

    A page to look at and listen to (report.html), every number (routing.json), every frame
    (routing.parquet), the means (routing.csv) and a picture (routing.svg, routing.png).
    """
    from rich.console import Console

    from phoneme_moe.cli.tables import print_files, print_routing, print_verdict
    from phoneme_moe.progress import status_line
    from phoneme_moe.report.run import report_run
    from phoneme_moe.run_folder import load_run

    loaded = load_run(run, device)
    with status_line() as begin:
        written = report_run(loaded, split, out, corpus, layer, utterance or (), begin)
    console = Console()
    print_verdict(console, written.document)
    print_routing(console, written.report)
    print_files(console, {path.name: path for path in written.files})
