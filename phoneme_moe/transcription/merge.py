"""All transcripts and failures of a list of recordings as one Parquet file.

Files are read one after the other, and one row group is held in memory. docs/scale.md explains how
to read the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from phoneme_moe.errors import InputError
from phoneme_moe.files.atomic import atomic_path
from phoneme_moe.transcription.file_list import path_digest
from phoneme_moe.transcription.writers.documents import TranscriptDocument
from phoneme_moe.transcription.writers.list_folder import ListFolder, transcript_name

COLUMNS = {
    "file": (pa.string(), "path of the recording as in the list"),
    "duration": (pa.float64(), "its length in seconds; null if it failed"),
    "phonemes": (pa.list_(pa.string()), "the phonemes in order; null if it failed"),
    "starts": (pa.list_(pa.float64()), "start of each phoneme, seconds from the start of the file"),
    "ends": (pa.list_(pa.float64()), "end of each phoneme, likewise"),
    "confidences": (pa.list_(pa.float32()), "probability of each phoneme that it is correct"),
    "routing": (pa.map_(pa.string(), pa.float32()), "mean weight of each expert, by name"),
    "run": (pa.string(), "run folder or ONNX file of the model; null if it failed"),
    "error": (pa.string(), "why the recording could not be transcribed; null if it was"),
}
"""Columns in order, with type and description, which docs/scale.md repeats; a row per recording."""

VERSION = "1"
"""Version of the columns and of the metadata."""

SUFFIX = ".json"
"""Suffix of the transcripts that are read."""

ROWS, PHONEMES = 10_000, 200_000
"""Most rows and phonemes of a row group; a longer recording has one of its own."""


@dataclass(frozen=True)
class Difference:
    """How a folder differs from the list that was transcribed into it.

    Attributes:
        num_listed: Number of recordings of the list, each counted once.
        missing: Those with neither a transcript nor a failure, as in the list.
        repeated: Those on several lines, as on the last of them.
        not_listed: Names of transcripts and failures of other recordings.
    """

    num_listed: int
    missing: list[str]
    repeated: list[str]
    not_listed: list[str]


@dataclass(frozen=True)
class Merged:
    """What a Parquet file contains.

    Attributes:
        transcribed: Number of transcripts.
        failed: Number of failures.
        audio_seconds: Length of the transcribed recordings.
    """

    transcribed: int
    failed: int
    audio_seconds: float


def compare_with_list(folder: ListFolder, paths: Iterable[str]) -> Difference:
    """Compares what is in a folder with a list; takes some hundred bytes of memory per recording.

    Args:
        folder: The folder.
        paths: The paths of the list (``file_list.read_list``).

    Raises:
        InputError: No list was transcribed into the folder, or not to JSON, or it is damaged.
    """
    _require_json(folder)
    present = set(map(path_digest, _names(folder)))
    listed: set[int] = set()
    missing, repeated = [], {}
    for path in paths:
        digest = path_digest(transcript_name(path))
        if digest in listed:
            repeated[digest] = path
        elif digest not in present:
            missing.append(path)
        listed.add(digest)
    others = dict.fromkeys(name for name in _names(folder) if path_digest(name) not in listed)
    return Difference(len(listed), missing, list(repeated.values()), list(others))


def _require_json(folder: ListFolder) -> None:
    """Checks that transcripts, if there are any, are in the format that is read."""
    folder.require()
    if next(folder.names(""), None) is not None and next(folder.names(SUFFIX), None) is None:
        raise InputError(
            f"{folder.folder}: found no transcripts in JSON, expected json among the formats of "
            "the transcription"
        )


def _names(folder: ListFolder) -> Iterator[str]:
    """Names of all transcripts, then of all failures; a name may come more than once."""
    yield from folder.names(SUFFIX)
    yield from (name for _, name, _ in folder.failures())


def write_parquet(folder: ListFolder, out: Path) -> Merged:
    """Writes transcripts, then failures, to one Parquet file, atomically.

    Args:
        folder: Folder into which a list was transcribed with JSON among the formats.
        out: The file; an existing one is replaced.

    Raises:
        InputError: No list was transcribed into the folder, or not to JSON, or a file is damaged.
    """
    _require_json(folder)
    transcribed, failed, seconds = 0, 0, 0.0
    with (
        atomic_path(out) as temporary,
        pq.ParquetWriter(temporary, _schema(), compression="zstd") as writer,
    ):
        rows: list[dict[str, Any]] = []
        num_phonemes = 0
        for row in _rows(folder):
            rows.append(row)
            num_phonemes += len(row["phonemes"] or ())
            if len(rows) >= ROWS or num_phonemes >= PHONEMES:
                writer.write_table(pa.Table.from_pylist(rows, writer.schema))
                rows, num_phonemes = [], 0
            if row["error"] is None:
                transcribed += 1
                seconds += row["duration"]
            else:
                failed += 1
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, writer.schema))
        counts = {"transcribed": transcribed, "failed": failed, "audio_seconds": round(seconds, 3)}
        writer.add_key_value_metadata({name: json.dumps(value) for name, value in counts.items()})
    return Merged(transcribed, failed, seconds)


def _schema() -> pa.Schema:
    fields = [pa.field(name, kind) for name, (kind, _) in COLUMNS.items()]
    descriptions = {name: text for name, (_, text) in COLUMNS.items()}
    return pa.schema(
        fields, {"phoneme_moe.transcripts": VERSION, "columns": json.dumps(descriptions)}
    )


def _rows(folder: ListFolder) -> Iterator[dict[str, Any]]:
    empty = dict.fromkeys(COLUMNS)
    for name in folder.names(SUFFIX):
        document = TranscriptDocument.read(folder.transcripts / f"{name}{SUFFIX}")
        yield empty | {
            "file": document.file,
            "duration": document.duration,
            "phonemes": document.phonemes,
            "starts": [segment.start for segment in document.segments],
            "ends": [segment.end for segment in document.segments],
            "confidences": [segment.confidence for segment in document.segments],
            "routing": list(document.routing.items()),
            "run": document.run,
        }
    failed: set[int] = set()
    for file, name, error in folder.failures():
        digest = path_digest(name)
        # A later command, perhaps with other shards, may have transcribed it.
        if digest not in failed and not (folder.transcripts / f"{name}{SUFFIX}").is_file():
            failed.add(digest)
            yield empty | {"file": file, "error": error}
