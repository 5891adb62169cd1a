"""``phoneme-moe bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoneme_moe.cli.options import Beam, Best, Device, FiguresFile, RunOrOnnx, Threads
from phoneme_moe.system.cores import usable_cores

if TYPE_CHECKING:
    from phoneme_moe.transcription.bench import Speed


def bench(
    run: RunOrOnnx,
    audio: Annotated[
        list[Path] | None,
        typer.Argument(help="Audio files and folders.", show_default="the corpus's test split"),
    ] = None,
    beam: Beam = None,
    best: Best = False,
    json: FiguresFile = None,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Measure the speed of transcription: each stage, memory, cold start.

    The results are saved in the run folder for its model card (phoneme-moe
    model); those of a model of the package are not.
    """
    from phoneme_moe.audio.finding import find_audio
    from phoneme_moe.cli.transcribe import open_engine
    from phoneme_moe.evaluation.model_card import SPEED, test_recordings
    from phoneme_moe.files.writing import write_json
    from phoneme_moe.models import locate_run, shipped_name
    from phoneme_moe.transcription.bench import bench as measure

    engine = open_engine(run, device, threads, best=best)
    files = find_audio(audio) if audio else test_recordings(engine.spec.corpus)
    speed = measure(engine, files, beam)
    if run.suffix != ".onnx" and shipped_name(folder := locate_run(run)) is None:
        write_json(folder / SPEED, speed.model_dump())
    if json is not None:
        write_json(json, speed.model_dump())
    _print(engine.spec.recipe, speed)


def _print(recipe: str, speed: Speed) -> None:
    from rich.table import Table

    from phoneme_moe.system.console import PlainConsole

    table = Table(
        title=f"{recipe}: {speed.files} files, {speed.sound_seconds:,.0f} s of sound",
        title_justify="left",
    )
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("times real time", justify="right")
    for name, seconds in [*speed.stages.items(), ("all, overlapped", speed.all_seconds)]:
        if name.startswith("all"):
            table.add_section()
        ratio = speed.sound_seconds / max(seconds, 1e-9)
        table.add_row(name, f"{seconds:.2f}", f"{ratio:,.0f}")
    memory = "not measured" if speed.memory_mb is None else f"{speed.memory_mb:,.0f} MB"
    console = PlainConsole()
    console.print(table)
    console.print(f"cold start with a 5 s file: {speed.cold_start_seconds:.2f} s; memory: {memory}")
    console.print(f"machine: {speed.machine} ({usable_cores().source})")
