"""``phoneme-moe report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.options import Device, Layer, OtherCorpus, RunFolder, Split


def report(
    run: RunFolder,
    split: Split = "test",
    corpus: OtherCorpus = None,
    layer: Layer = None,
    utterance: Annotated[
        list[str] | None,
        typer.Option(help="Also show this utterance over time (repeatable)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output folder.",
            show_default="RUN/report; results/RUN/report for a shipped model",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Report how experts specialise by speaker and phoneme, and how much they contribute.

    Writes an interactive page (report.html), the statistics (routing.json), all
    frames (routing.parquet), mean weights (routing.csv) and a figure (routing.svg,
    routing.png).
    """
    from phoneme_moe.cli.tables import print_files, print_routing, print_verdict
    from phoneme_moe.report.run import report_run
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.console import PlainConsole
    from phoneme_moe.system.progress import status_line

    loaded = load_run(run, device)
    with status_line() as begin:
        written = report_run(loaded, split, out, corpus, layer, utterance or (), begin)
    console = PlainConsole()
    print_verdict(console, written.document)
    print_routing(console, written.report)
    print_files(console, {path.name: path for path in written.files})
