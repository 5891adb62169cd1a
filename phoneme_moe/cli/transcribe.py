"""``phoneme-moe transcribe``."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from phoneme_moe.cli.completion import transcript_format_names
from phoneme_moe.cli.options import (
    Beam,
    Best,
    Channel,
    Device,
    GateFrom,
    OnlyExpert,
    OverrideLayer,
    RunOrOnnx,
    Symbols,
    Threads,
    WithoutExpert,
    error_line,
    found_audio,
    named_path,
    transcript_format,
)
from phoneme_moe.errors import InputError
from phoneme_moe.system.terminal import print_error, print_line
from phoneme_moe.transcription.formats import FORMATS

if TYPE_CHECKING:
    from phoneme_moe.transcription.formats import Format
    from phoneme_moe.transcription.model_spec import Engine
    from phoneme_moe.transcription.transcribe import Options
    from phoneme_moe.transcription.transcript import Transcript
    from phoneme_moe.transcription.writers.output_folder import OutputFolder


def transcribe(
    run: RunOrOnnx,
    audio: Annotated[
        list[Path] | None,
        # Not opened here, so that an unreadable file does not stop the others.
        typer.Argument(
            help="Audio files, folders, patterns, or - for stdin.",
            parser=named_path,
            metavar="audio",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="Output format; all writes every format (needs --out).",
            metavar=f"[{'|'.join([*FORMATS.items_here, 'all'])}]",
            parser=transcript_format,
            autocompletion=transcript_format_names,
            show_default="txt; json with --files-from",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write one file per recording to this folder.", show_default="stdout"),
    ] = None,
    files_from: Annotated[
        Path | None,
        typer.Option(
            metavar="LIST",
            help="Transcribe the files of this list, one path per line (- for stdin), to --out.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Only the I-th of N parts of the list, one for each process.",
            show_default="the whole list",
        ),
    ] = None,
    symbols: Symbols = None,
    fold: Annotated[
        str | None, typer.Option(help="Map onto a smaller phoneme set, such as timit39.")
    ] = None,
    beam: Beam = None,
    best: Best = False,
    nbest: Annotated[
        int, typer.Option(min=1, help="Write the N best hypotheses (needs a beam search).")
    ] = 1,
    channel: Channel = None,
    only_expert: OnlyExpert = None,
    without_expert: WithoutExpert = None,
    gate_from: GateFrom = None,
    layer: OverrideLayer = None,
    skip_done: Annotated[
        bool, typer.Option("--skip-done", help="Skip recordings whose output exists.")
    ] = False,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            help="Safetensors file with an embedding per recording, for runs that need one."
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Transcribe audio files to phonemes with times, confidence and experts.

    Unusable files are reported on stderr and skipped; the exit status is then 1.

    A list may be divided among processes and machines (--files-from, --shard);
    phoneme-moe merge joins their output.
    """
    from phoneme_moe.audio.finding import name_below
    from phoneme_moe.audio.worker_pool import start_worker
    from phoneme_moe.cli.transcribe_list import transcribe_list
    from phoneme_moe.transcription.transcribe import Options
    from phoneme_moe.transcription.writers.output_folder import OutputFolder

    format = format or ("txt" if files_from is None else "json")
    _check(audio, format, out, nbest, skip_done, files_from, shard)
    formats = list(FORMATS.values()) if format == "all" else [FORMATS[format]]
    override = (only_expert, without_expert, gate_from, layer)
    options = Options(beam, nbest, symbols, fold, channel, embeddings)
    if files_from is not None and out is not None:
        engine = functools.partial(open_engine, run, device, threads, override, best)
        transcribe_list(engine, files_from, shard, formats, options, out, skip_done, threads)
        return
    audio = audio or []
    not_usable: list[InputError] = []
    files = found_audio(audio, not_usable.append)
    for error in not_usable:
        print_error(error_line(error))
    writer: _Writer = _StreamWriter(format)
    remaining = files
    if out is not None:
        given = set(audio)
        names = {file: name_below(file, given) for file in files}
        folder_writer = writer = _FolderWriter(OutputFolder(out), formats, names)
        if skip_done:
            remaining = [path for path in files if not folder_writer.is_done(path)]
            print_error(f"{len(files) - len(remaining)} of {len(files)} already done")
    if remaining:
        start_worker()  # ready by the time that the model is loaded
    opened = open_engine(run, device, threads, override, best)
    num_failed = len(not_usable) + _transcribe_all(opened, remaining, options, writer, threads)
    if num_failed:
        total = len(files) + len(not_usable)
        if total > 1:  # for a single file, its own error line is enough
            print_error(f"phoneme-moe: {num_failed} of {total} files failed")
        raise typer.Exit(1)


def _check(
    audio: list[Path] | None,
    format: str,
    out: Path | None,
    nbest: int,
    skip_done: bool,
    files_from: Path | None,
    shard: str | None,
) -> None:
    """Refuses options that do not go together."""
    if not audio and files_from is None:
        raise typer.BadParameter("expected audio files, folders or patterns, or --files-from LIST")
    if files_from is not None:
        if audio:
            raise InputError(
                f"--files-from: found audio as well ({audio[0]}), expected one of them"
            )
        if out is None:
            raise InputError("--files-from: writes one file per recording, expected --out FOLDER")
    elif shard is not None:
        raise InputError("--shard: divides a list, expected --files-from LIST")
    if format == "all" and out is None:
        raise InputError("--format all: writes one file per format, expected --out FOLDER")
    if nbest > 1 and format not in {"json", "jsonl", "all"}:
        raise InputError(
            f"--nbest {nbest}: the n-best list is in json and jsonl, found --format {format}"
        )
    if skip_done and out is None:
        raise InputError("--skip-done: looks for earlier output, expected --out FOLDER")


class _Writer(Protocol):
    def write(self, transcript: Transcript) -> None: ...


@dataclass
class _StreamWriter:
    """Writes all transcripts to standard output."""

    format: str
    first: bool = True

    def write(self, transcript: Transcript) -> None:
        FORMATS[self.format].write(transcript, sys.stdout, self.first)
        sys.stdout.flush()
        self.first = False


@dataclass
class _FolderWriter:
    """Writes a file per recording and format, and prints their paths.

    Attributes:
        outputs: The folder.
        formats: The formats.
        names: Path of each recording relative to the folder that the user gave.
    """

    outputs: OutputFolder
    formats: Sequence[Format]
    names: dict[Path, Path]

    def is_done(self, recording: Path) -> bool:
        return self.outputs.is_done(recording, [format.suffix for format in self.formats])

    def write(self, transcript: Transcript) -> None:
        recording = transcript.path
        from phoneme_moe.files.writing import name_errors

        suffixes = [format.suffix for format in self.formats]
        with name_errors():
            paths = self.outputs.claim(recording, self.names[recording], suffixes)
            for format, path in zip(self.formats, paths, strict=True):
                format.save(transcript, path)
                print_line(path)


def _transcribe_all(
    engine: Engine,
    files: Sequence[Path],
    options: Options,
    writer: _Writer,
    num_cores: int | None,
) -> int:
    """Writes transcripts and prints failures; returns their number."""
    from phoneme_moe.system.progress import progress_bar
    from phoneme_moe.transcription.transcribe import Failure, transcribe_files

    num_failed = 0
    with progress_bar("transcribing", len(files)) as advance:
        for result in transcribe_files(engine, files, options, num_cores):
            advance()
            try:
                if isinstance(result, Failure):
                    raise result.error
                writer.write(result)
            except InputError as error:
                num_failed += 1
                print_error(error_line(error))
    return num_failed


def open_engine(
    run: Path,
    device: str = "auto",
    threads: int | None = None,
    override: tuple[str | None, str | None, str | None, str | None] = (None, None, None, None),
    best: bool = False,
) -> Engine:
    """Opens a run folder, or an ONNX file without torch.

    Args:
        run: The folder or the file.
        device: ``cpu``, ``cuda`` or ``auto``.
        threads: Number of threads; by default one per usable core.
        override: Routing to use instead of that of the gate or routers.
        best: Whether to decode with the slow search with the fewest errors.

    Raises:
        InputError: It cannot be opened, or the override does not fit.
    """
    if run.suffix == ".onnx":
        if any(override):
            raise InputError(
                f"{run}: an ONNX model has fixed routing; --only-expert, --without-expert, "
                "--gate-from and --layer need a run folder"
            )
        from phoneme_moe.transcription.onnx_engine import OnnxEngine

        return _with_best(OnnxEngine(run, threads), best)
    import torch

    from phoneme_moe.routing_override import named_override
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.transcription.run_engine import RunEngine

    loaded = load_run(run, device)
    if threads is not None:
        torch.set_num_threads(threads)
    return _with_best(RunEngine(loaded, named_override(loaded, *override)), best)


def _with_best(engine: Engine, best: bool) -> Engine:
    if best:
        engine.spec = engine.spec.with_best_search()
    return engine
