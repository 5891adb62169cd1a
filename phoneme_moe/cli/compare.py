"""``phoneme-moe compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    run_a: Annotated[Path, typer.Argument(help="A run folder: the run before.")],
    run_b: Annotated[Path, typer.Argument(help="Another one: the run after.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    corpus: Annotated[
        str | None, typer.Option(help="Another prepared corpus than the runs' own.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="A sparse layer of both, such as block_2.", show_default="the last one"),
    ] = None,
    layer_b: Annotated[
        str | None, typer.Option(help="Another one of RUN_B.", show_default="as --layer")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write.", show_default="RUN_B/compare/RUN_A")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Compare two runs: experts matched by what they do, routing, errors, and what differs."""
    from rich.console import Console

    from phoneme_moe.cli.tables import print_files
    from phoneme_moe.progress import progress_bar
    from phoneme_moe.report.compare.run import STEPS, compare_runs
    from phoneme_moe.run_folder import load_run

    loaded = load_run(run_a, device), load_run(run_b, device)
    with progress_bar("comparing", STEPS) as step:
        written = compare_runs(*loaded, split, corpus, layer, layer_b, out, step)
    console = Console()
    console.print(written.text)
    print_files(console, {path.suffix.removeprefix("."): path for path in written.files})
