"""``phoneme-moe merge``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.errors import InputError
from phoneme_moe.system.terminal import print_error, print_line

MOST_NAMED = 20
"""Most recordings that a message names one by one."""


def merge(
    folder: Annotated[Path, typer.Argument(help="Folder of phoneme-moe transcribe --files-from.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    files_from: Annotated[
        Path | None,
        typer.Option(metavar="LIST", help="Check first that the folder has exactly this list."),
    ] = None,
) -> None:
    """Join the transcripts of a list into one Parquet file, a row per recording.

    Recordings that failed have a row with the error. With --files-from,
    recordings of the list that are missing, and those that are not in it, are
    named; nothing is written then, and the exit status is 1.
    """
    from phoneme_moe.transcription.file_list import read_list
    from phoneme_moe.transcription.merge import compare_with_list, write_parquet
    from phoneme_moe.transcription.shard import unfinished_shards
    from phoneme_moe.transcription.writers.list_folder import ListFolder

    listed = ListFolder(folder)
    for name in unfinished_shards(listed):
        print_error(f"phoneme-moe: {name}: not finished, the list is incomplete")
    if files_from is not None:
        difference = compare_with_list(listed, read_list(files_from))
        _name("on several lines of the list", difference.repeated)
        _name("missing", difference.missing)
        _name("not in the list", difference.not_listed)
        if difference.missing or difference.not_listed:
            raise InputError(
                f"{folder}: expected the {difference.num_listed:,} recordings of {files_from}, "
                f"found {len(difference.missing):,} missing and {len(difference.not_listed):,} "
                "that are not in the list"
            )
    merged = write_parquet(listed, out)
    print_line(out)
    print_line(
        f"{merged.transcribed + merged.failed:,} recordings: {merged.transcribed:,} transcribed "
        f"({merged.audio_seconds / 3600:,.2f} hours), {merged.failed:,} failed"
    )


def _name(problem: str, recordings: Sequence[str]) -> None:
    for recording in recordings[:MOST_NAMED]:
        print_error(f"phoneme-moe: {recording}: {problem}")
    if len(recordings) > MOST_NAMED:
        print_error(f"phoneme-moe: {len(recordings) - MOST_NAMED:,} more {problem}")
