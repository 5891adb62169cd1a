"""The folder of ``transcribe --out``: every transcript belongs to one recording.

A hidden index remembers to which. So names depend neither on the other recordings of a command nor
on earlier commands with other recordings, and nothing is overwritten that is not this recording's.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from phoneme_moe.audio.formats import AUDIO_SUFFIXES
from phoneme_moe.errors import ArgumentError
from phoneme_moe.files.writing import path_text, portable_name

INDEX = ".recordings.jsonl"
"""One line per transcript: its path in the folder, and the absolute path of the recording."""

STANDARD_INPUT = Path("-")


class OutputFolder:
    """Names of transcripts in a folder; several processes may write to it at the same time."""

    def __init__(self, folder: Path) -> None:
        """Reads the index, if there is one.

        Args:
            folder: The folder, which need not exist.

        Raises:
            ArgumentError: A part of its path is a file.
        """
        existing = next(path for path in (folder, *folder.parents, Path()) if path.exists())
        if not existing.is_dir():
            raise ArgumentError("out", f"{existing}: found a file, expected a folder")
        self.folder = folder
        self._index = folder / INDEX
        self._bytes_read = 0
        self._owners: dict[str, str] = {}  # recordings by name, lower case and without suffix
        self._names: dict[str, list[str]] = {}  # names by recording
        self._transcripts: set[str] = set()  # names with suffix, lower case
        self._update()

    def is_done(self, recording: Path, suffixes: Sequence[str]) -> bool:
        """Whether the transcripts of a recording exist.

        Args:
            recording: The audio file; standard input is never done.
            suffixes: Suffixes of the transcripts, such as ``.json``.
        """
        return any(
            all(self._belongs(name, suffix) for suffix in suffixes)
            and all((self.folder / f"{name}{suffix}").is_file() for suffix in suffixes)
            for name in self._names.get(_identity(recording), [])
        )

    def claim(self, recording: Path, name: Path, suffixes: Sequence[str]) -> list[Path]:
        """Paths of the transcripts of a recording, which from then on belong to it.

        The name is that of the recording. If the name belongs to another recording, or to a file
        that is not a transcript, it ends in a hash of the recording's absolute path.

        Args:
            recording: The audio file, or ``-`` for standard input.
            name: Path of the audio file relative to the folder that the user gave.
            suffixes: Suffixes of the transcripts.
        """
        identity = _identity(recording)
        while True:
            names = _possible_names(recording, identity, name, self._names.get(identity, []))
            chosen = next(name for name in names if self._is_free(name, identity, suffixes))
            new = [suffix for suffix in suffixes if not self._belongs(chosen, suffix)]
            if new:
                self._append({f"{chosen}{suffix}": identity for suffix in new})
                self._update()
            # Another process may have been first to claim the name.
            if self._owners.get(chosen.lower()) == identity:
                return [self.folder / f"{chosen}{suffix}" for suffix in suffixes]

    def _belongs(self, name: str, suffix: str) -> bool:
        return f"{name}{suffix}".lower() in self._transcripts

    def _is_free(self, name: str, identity: str, suffixes: Sequence[str]) -> bool:
        owner = self._owners.get(name.lower())
        return owner in {None, identity} and all(
            self._belongs(name, suffix) or not os.path.lexists(self.folder / f"{name}{suffix}")
            for suffix in suffixes
        )

    def _append(self, transcripts: dict[str, str]) -> None:
        lines = "".join(
            json.dumps({"transcript": name, "recording": recording}, ensure_ascii=False) + "\n"
            for name, recording in transcripts.items()
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._index.open("ab", buffering=0) as file:
            # A line feed first: a killed process may have left half a line.
            file.write(b"\n" + lines.encode())

    def _update(self) -> None:
        """Reads what has been appended; of two claims of a name the first one counts."""
        try:
            with self._index.open("rb") as file:
                file.seek(self._bytes_read)
                text = file.read()
        except FileNotFoundError:
            return
        self._bytes_read += len(text)
        for transcript, recording in map(_read_line, text.splitlines()):
            name = str(transcript.with_suffix("")) if transcript.name else ""
            if name and self._owners.setdefault(name.lower(), recording) == recording:
                self._transcripts.add(str(transcript).lower())
                known = self._names.setdefault(recording, [])
                if name not in known:
                    known.append(name)


def _read_line(line: bytes) -> tuple[PurePosixPath, str]:
    """A transcript and its recording; empty for half a line, or a path that we would not choose."""
    try:
        entry = json.loads(line)
        transcript, recording = PurePosixPath(entry["transcript"]), entry["recording"]
        chosen = all(part == portable_name(part, max_bytes=255) for part in transcript.parts)
    except (ValueError, TypeError, KeyError, RecursionError):
        chosen = False
    return (transcript, str(recording)) if chosen else (PurePosixPath(), "")


def _possible_names(
    recording: Path, identity: str, name: Path, earlier: Sequence[str]
) -> Iterator[str]:
    if recording == STANDARD_INPUT:
        yield "stdin"
        yield from (f"stdin-{number}" for number in itertools.count(2))
    yield from earlier
    if name.suffix.lower() in AUDIO_SUFFIXES:
        name = name.with_suffix("")
    plain = "/".join(map(portable_name, name.parts))
    yield plain
    digest = hashlib.blake2b(identity.encode(), digest_size=4).hexdigest()
    yield f"{plain}-{digest}"
    yield from (f"{plain}-{digest}-{number}" for number in itertools.count(2))


def _identity(recording: Path) -> str:
    """What a recording is known by: its absolute path, with the links of its folder resolved.

    Standard input is another recording every time.
    """
    if recording == STANDARD_INPUT:
        return f"standard input {secrets.token_hex(8)}"
    return path_text(_resolved(recording.parent) / recording.name)


@functools.lru_cache(1024)
def _resolved(folder: Path) -> Path:
    return folder.resolve()
