"""``phoneme-moe compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.completion import run_names
from phoneme_moe.cli.options import Device, OtherCorpus, Split


def compare(
    run_a: Annotated[
        Path, typer.Argument(help="First run folder or shipped model.", autocompletion=run_names)
    ],
    run_b: Annotated[
        Path, typer.Argument(help="Second run folder or shipped model.", autocompletion=run_names)
    ],
    split: Split = "test",
    corpus: OtherCorpus = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="A sparse layer of both runs, such as block_2.", show_default="the last one"
        ),
    ] = None,
    layer_b: Annotated[
        str | None,
        typer.Option(help="Layer of RUN_B, if different.", show_default="as --layer"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output folder.",
            show_default="RUN_B/compare/RUN_A, below results for a shipped model",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Compare two runs: matching experts, error rates, utterances that differ."""
    from phoneme_moe.cli.tables import print_files
    from phoneme_moe.report.compare.run import STEPS, compare_runs
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.console import PlainConsole
    from phoneme_moe.system.progress import progress_bar

    loaded = load_run(run_a, device), load_run(run_b, device)
    with progress_bar("comparing", STEPS) as step:
        written = compare_runs(*loaded, split, corpus, layer, layer_b, out, step)
    console = PlainConsole()
    console.print(written.text)
    print_files(console, {path.suffix.removeprefix("."): path for path in written.files})
