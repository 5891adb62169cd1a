"""Transcription of one shard of a list into a folder that other processes fill, too.

The shard's recordings without those done before go through ``transcribe_files``, and every result
becomes a transcript or a noted failure before the next one is taken.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from phoneme_moe.audio.worker_pool import end_workers
from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import Document
from phoneme_moe.files.writing import name_errors, write_json
from phoneme_moe.transcription.file_list import Shard
from phoneme_moe.transcription.formats import Format
from phoneme_moe.transcription.model_spec import Engine
from phoneme_moe.transcription.transcribe import Failure, Options, transcribe_files
from phoneme_moe.transcription.transcript import Transcript
from phoneme_moe.transcription.writers.list_folder import ListFolder

SECONDS_BETWEEN_TOTALS = 15.0
"""How often the file with the totals is brought up to date."""


class ShardDocument(Document):
    """shards/I-of-N.json, written by phoneme-moe transcribe --files-from.

    Times and hours are those of the last command for this shard.
    """

    model_config = ConfigDict(title="Totals of a shard of a list of recordings, version 1")

    version: Literal[1] = 1
    shard: int = Field(ge=1, description="Which of the shards, from 1.")
    num_shards: int = Field(ge=1)
    finished: bool = Field(description="Whether every recording was tried.")
    files: int = Field(ge=0, description="Recordings of the shard, each counted once.")
    already_done: int = Field(ge=0, description="Of these, transcribed by earlier commands.")
    transcribed: int = Field(ge=0)
    failed: int = Field(ge=0)
    audio_hours: float = Field(ge=0, description="Length of the transcribed recordings.")
    hours: float = Field(ge=0, description="By the clock, with loading the model.")
    core_hours: float | None = Field(
        ge=0,
        description="Processor time of the process and its decoders; null until it has finished.",
    )
    audio_hours_per_hour: float = Field(ge=0)
    audio_hours_per_core_hour: float | None = Field(ge=0)


@dataclass
class Totals:
    """Running totals of a shard.

    Attributes:
        shard: The shard.
        files: Number of its recordings.
        already_done: Number of those that earlier commands transcribed.
        transcribed: Number of those transcribed so far.
        failed: Number of those that could not be.
        audio_seconds: Length of the transcribed recordings.
    """

    shard: Shard
    files: int
    already_done: int = 0
    transcribed: int = 0
    failed: int = 0
    audio_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Starts the clocks."""
        self._began, self._used = time.monotonic(), _processor_seconds()

    def add(self, result: Transcript | Failure) -> None:
        """Counts a recording."""
        if isinstance(result, Failure):
            self.failed += 1
        else:
            self.transcribed += 1
            self.audio_seconds += result.duration

    @property
    def audio_hours_per_hour(self) -> float:
        """Hours of audio transcribed in an hour."""
        return self.audio_seconds / max(time.monotonic() - self._began, 1e-9)

    def document(self, finished: bool) -> ShardDocument:
        """The totals so far; processor time is known only when the decoders have ended."""
        core_seconds = _processor_seconds() - self._used
        rate = self.audio_seconds / max(core_seconds, 1e-9)
        return ShardDocument(
            shard=self.shard.index,
            num_shards=self.shard.number,
            finished=finished,
            files=self.files,
            already_done=self.already_done,
            transcribed=self.transcribed,
            failed=self.failed,
            audio_hours=round(self.audio_seconds / 3600, 4),
            hours=round((time.monotonic() - self._began) / 3600, 4),
            core_hours=round(core_seconds / 3600, 4) if finished else None,
            audio_hours_per_hour=round(self.audio_hours_per_hour, 2),
            audio_hours_per_core_hour=round(rate, 2) if finished else None,
        )


def transcribe_shard(
    open_engine: Callable[[], Engine],
    files: Sequence[str],
    shard: Shard,
    folder: ListFolder,
    formats: Sequence[Format],
    options: Options | None = None,
    skip_done: bool = False,
    num_cores: int | None = None,
) -> Iterator[tuple[Totals, Failure | None]]:
    """Transcribes the recordings of a shard; may be ended at any moment and called again.

    Args:
        open_engine: Opens the inference engine of the model.
        files: The recordings (``file_list.files_of_shard``).
        shard: Which shard they are.
        folder: Receives transcripts, failures and totals.
        formats: Formats of the transcripts.
        options: Options of decoding and notation.
        skip_done: Whether to leave out recordings whose transcripts exist. Earlier failures are
            tried again in any case.
        num_cores: As for ``transcribe_files``.

    Yields:
        The totals before the first recording and after each; with the failure if it failed.

    Raises:
        InputError: The folder has other files, another process is transcribing the shard, or the
            model or options cannot be used.
    """
    totals = Totals(shard, len(files))
    engine = open_engine()  # first, so that one that cannot be opened changes nothing
    suffixes = [format.suffix for format in formats]
    folder.create()
    with folder.failures_of(shard) as note:
        done = {file for file in files if skip_done and folder.is_done(file, suffixes)}
        totals.already_done = len(done)
        place = folder.totals_file(shard)
        write_json(place, totals.document(finished=False).model_dump())
        yield totals, None
        remaining = (_recording(file) for file in files if file not in done)
        written = time.monotonic()
        for result in transcribe_files(engine, remaining, options, num_cores):
            if isinstance(result, Transcript):
                result = _save(result, formats, folder)
            totals.add(result)
            if isinstance(result, Failure):
                note(str(result.path), str(result.error).removeprefix(f"{result.path}: "))
            if time.monotonic() - written > SECONDS_BETWEEN_TOTALS:
                write_json(place, totals.document(finished=False).model_dump())
                written = time.monotonic()
            yield totals, result if isinstance(result, Failure) else None
        end_workers()
        write_json(place, totals.document(finished=True).model_dump(), durable=True)


def unfinished_shards(folder: ListFolder) -> Iterator[Path]:
    """Yields the totals of shards that have not tried every recording.

    Shards that were never begun have none.

    Raises:
        InputError: A file of totals is damaged.
    """
    for path in sorted(folder.shards.glob("*.json")):
        if not ShardDocument.read(path).finished:
            yield path


def _recording(file: str) -> Path:
    """The path to open, and to name in results; ``-`` in a list is a file of that name."""
    return Path(file).absolute() if file == "-" else Path(file)


def _save(
    transcript: Transcript, formats: Sequence[Format], folder: ListFolder
) -> Transcript | Failure:
    paths = folder.paths(str(transcript.path), [format.suffix for format in formats])
    try:
        with name_errors():
            for format, path in zip(formats, paths, strict=True):
                format.save(transcript, path)
    except InputError as error:
        return Failure(transcript.path, error)
    return transcript


def _processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])
