"""``phoneme-moe transcribe --files-from``: a list of recordings, or one shard of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from phoneme_moe.cli.options import error_line
from phoneme_moe.system.terminal import print_error, print_line

if TYPE_CHECKING:
    from phoneme_moe.transcription.file_list import Shard
    from phoneme_moe.transcription.formats import Format
    from phoneme_moe.transcription.model_spec import Engine
    from phoneme_moe.transcription.shard import ShardDocument
    from phoneme_moe.transcription.transcribe import Options
    from phoneme_moe.transcription.writers.list_folder import ListFolder


def transcribe_list(
    open_engine: Callable[[], Engine],
    files_from: Path,
    shard: str | None,
    formats: Sequence[Format],
    options: Options,
    out: Path,
    skip_done: bool,
    threads: int | None,
) -> None:
    """Transcribes a shard of a list; prints its failures and, at the end, its totals.

    Raises:
        typer.Exit: Some recordings failed.
    """
    from phoneme_moe.audio.worker_pool import start_worker
    from phoneme_moe.system.progress import progress_bar
    from phoneme_moe.transcription.file_list import Shard, files_of_shard, read_list
    from phoneme_moe.transcription.shard import ShardDocument, transcribe_shard
    from phoneme_moe.transcription.writers.list_folder import ListFolder

    part = Shard() if shard is None else Shard.parse(shard)
    files = files_of_shard(read_list(files_from), part)
    folder = ListFolder(out)
    start_worker()  # ready by the time that the model is loaded
    results = transcribe_shard(
        open_engine, files, part, folder, formats, options, skip_done, threads
    )
    with progress_bar("transcribing", len(files)) as advance:
        totals, _ = next(results)
        if skip_done:
            print_error(f"{totals.already_done} of {totals.files} already done")
        advance(totals.already_done)
        for totals, failure in results:
            advance(note=f"{totals.audio_hours_per_hour:,.0f} hours per hour")
            if failure is not None:
                print_error(error_line(failure.error))
    document = ShardDocument.read(folder.totals_file(part))
    for name, value in _lines(document, part, folder):
        print_line(f"{name}: {value}")
    if document.failed:
        raise typer.Exit(1)


def _lines(document: ShardDocument, shard: Shard, folder: ListFolder) -> Iterator[tuple[str, str]]:
    """The totals for people, who find the file for programs in the last line."""
    yield (
        f"shard {shard}",
        f"{document.transcribed:,} transcribed, {document.already_done:,} already done, "
        f"{document.failed:,} failed",
    )
    yield (
        "audio",
        f"{document.audio_hours:,.2f} hours in {document.hours:,.2f}; "
        f"{document.audio_hours_per_hour:,.0f} hours per hour, "
        f"{document.audio_hours_per_core_hour or 0:,.0f} per core-hour",
    )
    if document.failed:
        yield "failures", str(folder.failures_file(shard))
    yield "totals", str(folder.totals_file(shard))
