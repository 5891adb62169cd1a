"""``phoneme-moe clips``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.completion import expert_name, speaker_names
from phoneme_moe.cli.options import Device, Layer, OtherCorpus, RunFolder, Split


def clips(
    run: RunFolder,
    speaker: Annotated[
        str | None,
        typer.Option(help="Only phonemes of this speaker.", autocompletion=speaker_names),
    ] = None,
    expert: Annotated[
        str | None,
        typer.Option(
            help="Only phonemes where this expert has the greatest mean weight.",
            autocompletion=expert_name,
        ),
    ] = None,
    phoneme: Annotated[str | None, typer.Option(help="Only this phoneme.")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="Only misrecognised phonemes.")] = False,
    split: Split = "test",
    corpus: OtherCorpus = None,
    layer: Layer = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Maximum number of clips, sampled if there are more.")
    ] = 200,
    context: Annotated[
        float, typer.Option(min=0, max=10_000, help="Milliseconds before and after each phoneme.")
    ] = 100.0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output folder.",
            show_default="RUN/clips; results/RUN/clips for a shipped model",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Write a page that plays the phonemes behind a cell of the routing report."""
    from phoneme_moe.cli.tables import print_files
    from phoneme_moe.report.clips.find import ClipQuery
    from phoneme_moe.report.clips.folder import TABLE
    from phoneme_moe.report.clips.run import clips_of_run
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.console import PlainConsole

    query = ClipQuery(speaker, expert, phoneme, wrong)
    loaded = load_run(run, device)
    written = clips_of_run(loaded, query, split, out, corpus, layer, limit, context, progress=True)
    console = PlainConsole()
    for line in written.summary:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    files = {"page": written.page, "table": written.folder / TABLE}
    print_files(console, files)
