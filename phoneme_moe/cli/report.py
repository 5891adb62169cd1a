"""``phoneme-moe report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phoneme_moe.cli.completion import run_names
from phoneme_moe.cli.options import Device, Layer, OtherCorpus, Split
from phoneme_moe.errors import ArgumentError

if TYPE_CHECKING:
    from phoneme_moe.report.paper.style import PaperStyle


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
    figures: Annotated[
        Path | None,
        typer.Option(help="Folder for the figures of the page, for a paper."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(metavar="svg|pdf|png", help="Format of --figures.", show_default="svg"),
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            help="Width of --figures, in mm, cm, in or pt.",
            show_default="84mm, a column",
        ),
    ] = None,
    font_size: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Size of all text of --figures.", show_default="8"),
    ] = None,
) -> None:
    """Report how experts specialise by speaker and phoneme, and how much they contribute.

    Writes an interactive page (report.html), the statistics (routing.json),
    all frames (routing.parquet), mean weights (routing.csv) and a figure
    (routing.svg, routing.png). For several runs, which differ in their seed,
    also means with intervals, with experts matched (seeds.html, seeds.json).
    With --figures DIR, also every figure of the page as a file for a paper.
    """
    from phoneme_moe.cli.tables import print_files, print_routing, print_verdict
    from phoneme_moe.report.run import report_run
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.console import PlainConsole
    from phoneme_moe.system.progress import status_line

    style = _paper_style(figures, format, width, font_size)
    if len(runs) > 1:
        if clips:
            raise ArgumentError("clips", "expected a single run, whose report plays them")
        _report_seeds(runs, split, corpus, layer, utterance, out, device, figures, style)
        return
    loaded = load_run(runs[0], device)
    with status_line() as begin:
        written = report_run(loaded, split, out, corpus, layer, utterance or (), begin, clips)
        drawn = written.save_figures(figures, style, begin) if figures and style else []
    console = PlainConsole()
    print_verdict(console, written.document)
    print_routing(console, written.report)
    print_files(console, {path.name: path for path in (*written.files, *drawn)})


def _paper_style(
    folder: Path | None, format: str | None, width: str | None, font_size: float | None
) -> PaperStyle | None:
    """Checks the options of figures before the work begins; None if there are none to write."""
    given: dict[str, Any] = {"format": format, "width": width, "font_size": font_size}
    given = {name: value for name, value in given.items() if value is not None}
    if folder is None:
        for name in given:
            raise ArgumentError(name, "expected figures=DIR with it, the folder to write to")
        return None
    from phoneme_moe.report.paper.figures import check_folder
    from phoneme_moe.report.paper.style import paper_style

    check_folder(folder)
    return paper_style(**given)


def _report_seeds(
    runs: list[Path],
    split: str,
    corpus: str | None,
    layer: str | None,
    utterance: list[str] | None,
    out: Path | None,
    device: str,
    figures: Path | None,
    style: PaperStyle | None,
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
        drawn = written.save_figures(figures, style, begin) if figures and style else []
    console = PlainConsole()
    console.print(written.text)
    shown = {path.suffix.removeprefix("."): path for path in written.files}
    print_files(console, shown | {path.name: path for path in drawn})
