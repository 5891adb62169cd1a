"""Finding audio files: from files, folders and patterns to recordings.

What systems and programs leave in folders (``.DS_Store``, ``._a.wav``, ``__MACOSX``) is left out.
Links to folders are followed, but no folder is searched twice, so that loops end.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from phoneme_moe.audio.formats import AUDIO_SUFFIXES, HEAD_BYTES, sniff
from phoneme_moe.errors import InputError

OnError = Callable[[InputError], None]

_SYSTEM_NAMES = frozenset(
    {
        "#recycle",
        "$recycle.bin",
        "@eadir",
        "__macosx",
        "desktop.ini",
        "lost+found",
        "system volume information",
        "thumbs.db",
    }
)
"""Files and folders of operating systems and network storage, besides hidden ones."""


RAW_SUFFIXES = frozenset({".raw", ".pcm"})
"""Suffixes of samples without a header."""


def find_audio(inputs: Iterable[Path], on_error: OnError | None = None) -> list[Path]:
    """Expands files, folders and patterns to audio files, each listed once.

    Args:
        inputs: Files, folders (all audio files below them), patterns such as ``*.wav`` or
            ``**/*.wav``, or ``-`` for standard input. An existing file or folder with this name
            takes precedence over a pattern.
        on_error: Called for a folder without audio files, a subfolder that cannot be read or a
            pattern without a match, after which the search continues; by default the error is
            raised.

    Raises:
        InputError: As above, and ``on_error`` is None.
    """
    report = on_error or _raise
    found: dict[Path, Path] = {}
    for path in inputs:
        if path.is_dir():
            files = audio_files(path, report)
            if not files:
                known = " ".join(sorted(AUDIO_SUFFIXES))
                report(InputError(f"{path}: the folder contains no audio files ({known})"))
        elif _is_pattern(str(path)) and not os.path.lexists(path):
            root = Path(path.anchor)
            matches = _matches(root, path.parts[len(root.parts) :], report)
            files = sorted(set(filter(Path.is_file, matches)))
            if not files:
                report(InputError(f"{path}: no file matches the pattern"))
        else:
            files = [path]
        for file in files:
            found.setdefault(file.absolute(), file)
    return list(found.values())


def name_below(file: Path, inputs: Collection[Path]) -> Path:
    """The path of a file relative to the folder that the user gave; else its file name.

    Args:
        file: One of the files that ``find_audio`` found.
        inputs: What it was found in; best a set.
    """
    for folder in reversed(file.parents):
        below = file.relative_to(folder)
        if folder in inputs and ".." not in below.parts:
            return below
    return Path(file.name)


def audio_files(folder: Path, on_error: OnError | None = None) -> list[Path]:
    """All audio files below a folder, sorted.

    Args:
        folder: The folder.
        on_error: Called for a subfolder that cannot be read; by default the error is raised.

    Raises:
        InputError: A folder cannot be read, and ``on_error`` is None.
    """
    return sorted(
        Path(entry)
        for _, entries in _walk(folder, on_error or _raise)
        for entry in entries
        if _is_audio(entry)
    )


def raw_files(inputs: Iterable[Path]) -> list[Path]:
    """Files below the given folders that are left out because raw samples have no header."""
    return [
        Path(entry)
        for path in inputs
        if path.is_dir()
        for _, entries in _walk(path, lambda _: None)
        for entry in entries
        if Path(entry.name).suffix.lower() in RAW_SUFFIXES
    ]


def _raise(error: InputError) -> None:
    raise error


def _walk(folder: Path, report: OnError) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Yields every folder below a folder, itself included, once, with its entries.

    Links are followed after the folders without links, so that files keep their real paths. A link
    to a folder above the first one is not followed.
    """
    visited = {_identity(path) for path in folder.resolve().parents}
    waiting: deque[Path] = deque([folder])
    links: deque[Path] = deque()
    while waiting or links:
        path = (waiting or links).popleft()
        try:
            identity = _identity(path)
            if identity in visited:
                continue
            visited.add(identity)
            with os.scandir(path) as scan:
                entries = sorted((e for e in scan if not _is_left_out(e.name)), key=_name)
        except OSError as error:
            report(InputError(f"{path}: the folder cannot be read: {error.strerror}"))
            continue
        yield path, entries
        for entry in entries:
            if _leads_to(entry.is_dir):
                (links if entry.is_symlink() else waiting).append(Path(entry))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _leads_to(kind: Callable[[], bool]) -> bool:
    """A test of the target of a link; False if the target cannot be reached."""
    try:
        return kind()
    except OSError:
        return False


def _is_audio(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is audio, by its suffix or else by its first bytes.

    A broken link counts by its suffix, so that it is reported when it is read; pipes and devices do
    not count.
    """
    is_file = _leads_to(entry.is_file)
    if Path(entry.name).suffix.lower() in AUDIO_SUFFIXES:
        return is_file or not _leads_to(Path(entry).exists)
    if not is_file:
        return False
    try:
        with Path(entry).open("rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return sniff(head) is not None


def _is_pattern(text: str) -> bool:
    return re.search(r"[*?[]", text) is not None


def _matches(folder: Path, parts: Sequence[str], report: OnError) -> Iterator[Path]:
    """Paths below a folder that match a pattern, given by its parts.

    Names that exist take precedence over patterns, and only a pattern that begins with a dot
    matches hidden files, as in a shell.
    """
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        for below, _ in _walk(folder, report):
            yield from _matches(below, rest or ("*",), report)
    elif not _is_pattern(first) or os.path.lexists(folder / first):
        yield from _matches(folder / first, rest, report)
    elif folder.is_dir():
        try:
            names = [path.name for path in folder.iterdir()]
        except OSError as error:
            report(InputError(f"{folder}: the folder cannot be read: {error.strerror}"))
            return
        for name in fnmatch.filter(names, first):
            if first.startswith(".") or not _is_left_out(name):
                yield from _matches(folder / name, rest, report)
