"""``phoneme-moe transcribe``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.errors import InputError


class TranscriptFormat(StrEnum):
    """How a transcript is written."""

    TXT = "txt"
    JSON = "json"


def transcribe(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    audio: Annotated[list[Path], typer.Argument(help="Audio files and folders of them.")],
    format: Annotated[
        TranscriptFormat, typer.Option(help="txt: phonemes. json: times, confidence, routing.")
    ] = TranscriptFormat.TXT,
    out: Annotated[
        Path | None, typer.Option(help="Write one file for each recording into this folder.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Vectors by recording, for runs whose routers see one (safetensors)."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Transcribe audio files to phonemes, one line a file on stdout.

    A file that cannot be used is named on stderr; the others are still done, and the exit status
    is then 1.
    """
    from rich.progress import track

    from phoneme_moe.cli.tables import progress_console
    from phoneme_moe.run import load_run, write_text
    from phoneme_moe.transcription.transcribe import find_audio
    from phoneme_moe.transcription.transcribe import transcribe as transcribe_file
    from phoneme_moe.transcription.writers import output_names, to_json, to_text

    loaded = load_run(run, device)
    files = find_audio(audio)
    names = output_names(files, f".{format.value}")
    failed = 0
    console = progress_console()
    rows = zip(files, names, strict=True)
    for path, name in track(
        rows, "transcribing", total=len(files), console=console, disable=len(files) == 1,
        transient=True,
    ):  # fmt: skip
        try:
            transcript = transcribe_file(loaded, path, embeddings)
        except InputError as error:
            failed += 1
            print(f"phoneme-moe: {error}", file=sys.stderr)
            continue
        text = to_json(transcript, loaded) if format == "json" else to_text(transcript)
        if out is None:
            print(text, flush=True)
        else:
            write_text(out / name, text + "\n")
            print(out / name, flush=True)
    if failed:
        print(f"phoneme-moe: {failed} of {len(files)} files failed", file=sys.stderr)
        raise typer.Exit(1)
