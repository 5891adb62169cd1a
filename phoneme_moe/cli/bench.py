"""``phoneme-moe bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.options import Beam


def bench(
    run: Annotated[Path, typer.Argument(help="A run folder, or a model exported as .onnx.")],
    audio: Annotated[
        list[Path] | None,
        typer.Argument(help="Audio files and folders.", show_default="the corpus's test split"),
    ] = None,
    beam: Beam = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all cores if left out.")] = (
        None
    ),
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Time transcription on this machine: reading, features, network, decoding, memory, start.

    A run folder keeps the figures for its model card (phoneme-moe model).
    """
    from rich.console import Console
    from rich.table import Table

    from phoneme_moe.cli.transcribe import open_engine
    from phoneme_moe.evaluation.model_card import SPEED, test_files
    from phoneme_moe.files import write_json
    from phoneme_moe.transcription.bench import bench as measure
    from phoneme_moe.transcription.find_audio import find_audio

    engine = open_engine(run, device, threads)
    files = find_audio(audio) if audio else test_files(engine.spec.corpus)
    found = measure(engine, files, beam)
    if run.is_dir():
        write_json(run / SPEED, found)
    if json is not None:
        write_json(json, found)
    sound = found["sound_seconds"]
    table = Table(
        title=f"{engine.spec.recipe}: {found['files']} files, {sound:,.0f} s of sound",
        title_justify="left",
    )
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("times real time", justify="right")
    rows = [*found["stages"].items(), ("all, overlapped", found["all_seconds"])]
    for name, seconds in rows:
        if name.startswith("all"):
            table.add_section()
        table.add_row(name, f"{seconds:.2f}", f"{sound / max(seconds, 1e-9):,.0f}")
    console = Console()
    console.print(table)
    console.print(
        f"cold start of a 5 s file: {found['cold_start_seconds']:.2f} s; "
        f"memory: {found['memory_mb']:,.0f} MB; {found['machine']}"
    )
