"""``phoneme-moe transcribe``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoneme_moe.cli.options import (
    Beam,
    GateFrom,
    OnlyExpert,
    OverrideLayer,
    WithoutExpert,
    named_path,
)
from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from phoneme_moe.transcription.model_spec import Engine


class TranscriptFormat(StrEnum):
    """How a transcript is written."""

    TXT = "txt"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    CTM = "ctm"
    TEXTGRID = "textgrid"
    SRT = "srt"
    VTT = "vtt"
    ALL = "all"


class Symbols(StrEnum):
    """What phonemes are written in."""

    ARPABET = "arpabet"
    IPA = "ipa"


def transcribe(
    run: Annotated[Path, typer.Argument(help="A run folder, or a model exported as .onnx.")],
    audio: Annotated[
        list[Path],
        # Not looked at here: one that cannot be read must not stop the others.
        typer.Argument(
            help="Audio files, folders, patterns, or - for stdin.",
            parser=named_path,
            metavar="audio",
        ),
    ],
    format: Annotated[
        TranscriptFormat, typer.Option(help="all: every format, into --out.")
    ] = TranscriptFormat.TXT,
    out: Annotated[
        Path | None, typer.Option(help="Write one file for each recording into this folder.")
    ] = None,
    symbols: Annotated[Symbols | None, typer.Option(help="Write phonemes in these.")] = None,
    fold: Annotated[str | None, typer.Option(help="Fold onto a smaller phoneme set.")] = None,
    beam: Beam = None,
    nbest: Annotated[int, typer.Option(min=1, help="So many readings (with --beam).")] = 1,
    channel: Annotated[
        int | None, typer.Option(min=1, help="One channel; the mean of all if left out.")
    ] = None,
    only_expert: OnlyExpert = None,
    without_expert: WithoutExpert = None,
    gate_from: GateFrom = None,
    layer: OverrideLayer = None,
    skip_done: Annotated[
        bool, typer.Option("--skip-done", help="Leave out recordings that --out has already.")
    ] = False,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Vectors by recording, for runs whose routers see one (safetensors)."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all cores if left out.")] = (
        None
    ),
) -> None:
    """Transcribe audio files to phonemes with times, confidence and experts.

    A file that cannot be used is named on stderr; the others are still done, and the exit status
    is then 1.
    """
    from phoneme_moe.progress import progress_bar
    from phoneme_moe.transcription.recording import find_audio
    from phoneme_moe.transcription.transcribe import (
        Failure,
        Options,
        transcribe_files,
    )
    from phoneme_moe.transcription.writers import FORMATS, output_names

    if format == "all" and out is None:
        raise InputError("--format all: expected --out FOLDER too, one file a format")
    if skip_done and out is None:
        raise InputError("--skip-done: expected --out FOLDER too, in which to look")
    refused: list[InputError] = []
    files = find_audio(audio, refused.append)
    for error in refused:
        print(f"phoneme-moe: {error}", file=sys.stderr)
    formats = list(FORMATS) if format == "all" else [format.value]
    targets = dict(zip(files, output_names(files, ""), strict=True))
    todo = files
    if skip_done and out is not None:
        todo = [
            path
            for path in files
            if not all((out / f"{targets[path]}{FORMATS[f].suffix}").is_file() for f in formats)
        ]
        print(f"{len(files) - len(todo)} of {len(files)} done before", file=sys.stderr)
    engine = open_engine(run, device, threads, (only_expert, without_expert, gate_from, layer))
    options = Options(beam, nbest, symbols, fold, channel, embeddings)
    failed = len(refused)
    first = True
    with progress_bar("transcribing", len(todo)) as advance:
        for found in transcribe_files(engine, todo, options):
            advance()
            if isinstance(found, Failure):
                failed += 1
                print(f"phoneme-moe: {found.error}", file=sys.stderr)
                continue
            if out is None:
                FORMATS[format.value].write(found, sys.stdout, first)
                sys.stdout.flush()
                first = False
                continue
            for name in formats:
                target = out / f"{targets[found.path]}{FORMATS[name].suffix}"
                FORMATS[name].save(found, target)
                print(target, flush=True)
    if failed:
        asked = len(files) + len(refused)
        if asked > 1:  # Of a single one, its own line has said all there is to say.
            print(f"phoneme-moe: {failed} of {asked} files failed", file=sys.stderr)
        raise typer.Exit(1)


def open_engine(
    run: Path,
    device: str = "auto",
    threads: int | None = None,
    asked: tuple[str | None, str | None, str | None, str | None] = (None, None, None, None),
) -> Engine:
    """A run folder through torch, or an ONNX file without it.

    Args:
        run: The folder or the file.
        device: ``cpu``, ``cuda`` or ``auto``.
        threads: All cores when left out.
        asked: ``--only-expert``, ``--without-expert``, ``--gate-from`` and ``--layer``.

    Raises:
        InputError: It cannot be opened, or has no such experts.
    """
    if run.suffix == ".onnx":
        if any(asked):
            raise InputError(
                f"{run}: an exported model asks the experts it asks; expected a run folder for "
                "--only-expert, --without-expert, --gate-from and --layer"
            )
        from phoneme_moe.transcription.onnx_engine import OnnxEngine

        return OnnxEngine(run, threads)
    import torch

    from phoneme_moe.routing_override import named_override
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.transcription.run_engine import RunEngine

    if threads is not None:
        torch.set_num_threads(threads)
    loaded = load_run(run, device)
    return RunEngine(loaded, named_override(loaded, *asked))
