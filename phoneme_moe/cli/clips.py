"""``phoneme-moe clips``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def clips(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    speaker: Annotated[str | None, typer.Option(help="Who speaks.")] = None,
    expert: Annotated[
        str | None, typer.Option(help="Who has the greatest mean weight over the phoneme.")
    ] = None,
    phoneme: Annotated[str | None, typer.Option(help="What is spoken.")] = None,
    wrong: Annotated[
        bool, typer.Option("--wrong", help="Only what the run does not recognise.")
    ] = False,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    corpus: Annotated[
        str | None, typer.Option(help="Another prepared corpus than the run's own.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="A sparse layer, such as block_2.", show_default="the last one"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Clips at most; of more, a sample.")] = 200,
    context: Annotated[
        float, typer.Option(min=0, max=10_000, help="Milliseconds before and after the phoneme.")
    ] = 100.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write.", show_default="RUN/clips")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Write a page that plays every spoken phoneme behind a cell of the routing report."""
    from rich.console import Console

    from phoneme_moe.cli.tables import print_files
    from phoneme_moe.report.clips.find import Cell
    from phoneme_moe.report.clips.folder import TABLE
    from phoneme_moe.report.clips.run import clips_of_run
    from phoneme_moe.run_folder import load_run

    cell = Cell(speaker, expert, phoneme, wrong)
    loaded = load_run(run, device)
    written = clips_of_run(loaded, cell, split, out, corpus, layer, limit, context, progress=True)
    console = Console()
    for line in written.summary:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    files = {"page": written.page, "table": written.folder / TABLE}
    print_files(console, files)
