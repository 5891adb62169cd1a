"""The folder into which a list of recordings is transcribed, by any number of processes.

    transcripts/data/ann/a.wav.json      of the recording /data/ann/a.wav
    shards/003-of-100.json               totals of a shard (``transcription.shard``)
    shards/003-of-100.failures.jsonl     its recordings that could not be transcribed

Unlike in ``output_folder``, the name of a transcript depends on the recording's path alone, so that
no process needs to know what the others have named.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath

from phoneme_moe.errors import InputError
from phoneme_moe.files.atomic import is_empty
from phoneme_moe.files.locks import try_lock
from phoneme_moe.files.writing import json_text, path_text, portable_name
from phoneme_moe.transcription.file_list import Shard

_FAILURES = ".failures.jsonl"
"""Suffix of the file of failures: on each line a JSON object with file, transcript and error."""


def transcript_name(recording: str) -> str:
    """Name of the transcript of a recording, without the suffix of a format.

    It is the absolute path, without links being resolved. Where that is no name on every system,
    what is not permitted is replaced, and a hash of the path is appended.

    Args:
        recording: Its path; a relative one begins in the current folder.
    """
    # Path.absolute leaves .. in place, and Path.resolve follows links.
    absolute = os.path.abspath(recording)  # noqa: PTH100
    folder, name = os.path.split(absolute)
    below, folder_is_portable = _portable_folder(folder)
    portable = portable_name(name)
    if folder_is_portable and portable == name:
        return f"{below}{name}"
    digest = hashlib.blake2b(os.fsencode(absolute), digest_size=8).hexdigest()
    return f"{below}{portable}-{digest}"


@functools.lru_cache(1024)
def _portable_folder(folder: str) -> tuple[str, bool]:
    """An absolute folder as the beginning of a name, and whether it could stay as it is."""
    path = PurePath(folder)
    parts = [part for part in (path.drive, *path.parts[1:]) if part]
    portable = [portable_name(part) for part in parts]
    return "".join(f"{part}/" for part in portable), portable == parts


class ListFolder:
    """Transcripts, failures and totals of a list of recordings.

    Attributes:
        folder: The folder.
        transcripts: The folder of the transcripts.
        shards: The folder of totals and failures.
    """

    def __init__(self, folder: Path) -> None:
        """Names the folder, which need not exist."""
        self.folder = folder
        self.transcripts = folder / "transcripts"
        self.shards = folder / "shards"

    def create(self) -> None:
        """Creates the folder, or opens that of an earlier command.

        Raises:
            InputError: It has other files.
        """
        # In this order, as another process may be creating it.
        if self.folder.exists() and not is_empty(self.folder) and not self.shards.is_dir():
            raise InputError(
                f"{self.folder}: found other files, expected an empty folder or one into which a "
                "list was transcribed before"
            )
        self.shards.mkdir(parents=True, exist_ok=True)

    def require(self) -> None:
        """Checks that a list was transcribed into this folder.

        Raises:
            InputError: It was not.
        """
        if not self.shards.is_dir():
            raise InputError(
                f"{self.folder}: found no folder shards, expected a folder into which a list was "
                "transcribed"
            )

    def paths(self, recording: str, suffixes: Sequence[str]) -> list[Path]:
        """The transcripts of a recording, one for each suffix such as ``.json``."""
        name = transcript_name(recording)
        return [self.transcripts / f"{name}{suffix}" for suffix in suffixes]

    def is_done(self, recording: str, suffixes: Sequence[str]) -> bool:
        """Whether all transcripts of a recording exist."""
        return all(map(_has_content, self.paths(recording, suffixes)))

    def names(self, suffix: str) -> Iterator[str]:
        """Names of all transcripts with a suffix, folder by folder in order of their names."""
        root = str(self.transcripts)
        for folder, folders, files in os.walk(root):
            folders.sort()
            below = os.path.relpath(folder, root).replace(os.sep, "/")
            prefix = "" if below == "." else f"{below}/"
            for file in sorted(files):
                # What is being written has a hidden name that begins with a dot and our prefix.
                if file.endswith(suffix) and not file.startswith(".phoneme-moe."):
                    yield f"{prefix}{file.removesuffix(suffix)}"

    def totals_file(self, shard: Shard) -> Path:
        """The file with the totals of a shard."""
        return self.shards / f"{shard.name}.json"

    def failures_file(self, shard: Shard) -> Path:
        """The file with the failures of a shard."""
        return self.shards / f"{shard.name}{_FAILURES}"

    @contextmanager
    def failures_of(self, shard: Shard) -> Iterator[Callable[[str, str], None]]:
        """Yields a function that notes a recording and the reason of its failure.

        What an earlier command noted is removed: its failures are tried again.

        Raises:
            InputError: Another process is transcribing the shard.
        """
        path = self.failures_file(shard)
        with path.open("ab", buffering=0) as file:
            if try_lock(file.fileno()) is False:
                raise InputError(f"{path}: another process is transcribing shard {shard}")
            file.truncate(0)

            def note(recording: str, error: str) -> None:
                name = transcript_name(recording)
                entry = {"file": path_text(Path(recording)), "transcript": name, "error": error}
                file.write(f"{json_text(entry)}\n".encode())

            yield note

    def failures(self) -> Iterator[tuple[str, str, str]]:
        """Yields path, transcript name and reason of each failure of every shard.

        A failure that a later command with other shards made good is among them.

        Raises:
            InputError: A file of failures is damaged.
        """
        for path in sorted(self.shards.glob(f"*{_FAILURES}")):
            with path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if not line.endswith(b"\n"):  # a killed process, or one that is writing
                        continue
                    try:
                        entry = json.loads(line)
                        yield str(entry["file"]), str(entry["transcript"]), str(entry["error"])
                    except (ValueError, TypeError, KeyError, RecursionError) as error:
                        raise InputError(
                            f"{path}: line {number}: expected a JSON object with file, transcript "
                            "and error"
                        ) from error


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0  # nothing is left of some files after a power cut
    except OSError:
        return False
