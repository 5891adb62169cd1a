"""``phoneme-moe report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.completion import run_names
from phoneme_moe.cli.options import Device, Layer, OtherCorpus, Split
from phoneme_moe.errors import ArgumentError


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folder or shipped model; several runs of one recipe give means over seeds.",
            autocompletion=run_names,
        ),
    ],
    split: Split = "test",
    corpus: OtherCorpus = None,
    layer: Layer = None,
    utterance: Annotated[
        list[str] | None,
        typer.Option(help="Also show this utterance over time (repeatable)."),
    ] = None,
    clips: Annotated[
        int,
        typer.Option(
            min=0, help="Clips for each cell of the heat maps, opened by a click on the cell."
        ),
    ] = 0,
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

    Writes an interactive page (report.html), the statistics (routing.json),
    all frames (routing.parquet), mean weights (routing.csv) and a figure
    (routing.svg, routing.png). For several runs, which differ in their seed,
    also means with intervals, with experts matched (seeds.html, seeds.json).
    """
    from phoneme_moe.cli.tables import print_files, print_routing, print_verdict
    from phoneme_moe.report.run import report_run
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.console import PlainConsole
    from phoneme_moe.system.progress import status_line

    if len(runs) > 1:
        if clips:
            raise ArgumentError("clips", "expected a single run, whose report plays them")
        _report_seeds(runs, split, corpus, layer, utterance, out, device)
        return
    loaded = load_run(runs[0], device)
    with status_line() as begin:
        written = report_run(loaded, split, out, corpus, layer, utterance or (), begin, clips)
    console = PlainConsole()
    print_verdict(console, written.document)
    print_routing(console, written.report)
    print_files(console, {path.name: path for path in written.files})


def _report_seeds(
    runs: list[Path],
    split: str,
    corpus: str | None,
    layer: str | None,
    utterance: list[str] | None,
    out: Path | None,
    device: str,
) -> None:
    """Reports several runs of one recipe and their means."""
    from phoneme_moe.cli.tables import print_files
    from phoneme_moe.report.seeds.run import report_seeds
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.console import PlainConsole
    from phoneme_moe.system.progress import status_line

    if utterance:
        raise ArgumentError("utterance", "expected a single run, whose report shows it")
    loaded = [load_run(run, device) for run in runs]
    with status_line() as begin:
        written = report_seeds(loaded, split, out, corpus, layer, begin)
    console = PlainConsole()
    console.print(written.text)
    print_files(console, {path.suffix.removeprefix("."): path for path in written.files})
