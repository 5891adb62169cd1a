"""From the name of a public corpus to its folder on the disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from phoneme_moe.corpora.download.table import BY_HAND, DOWNLOADS, Archive
from phoneme_moe.corpora.download.transfer import fetch
from phoneme_moe.corpora.download.unpacking import unpack
from phoneme_moe.corpora.prepared import data_root
from phoneme_moe.corpora.registry import CORPORA
from phoneme_moe.errors import ArgumentError, InputError, suggest
from phoneme_moe.files.atomic import atomic_folder
from phoneme_moe.files.locks import try_lock
from phoneme_moe.files.writing import write_json
from phoneme_moe.system.progress import byte_bar

RECEIPT_FILE = ".download.json"
"""In a downloaded folder: the archive, where it came from, its size and SHA-256."""

_UNPACKED = 1.5
"""Size of unpacked speech at most, in sizes of the archive."""


@dataclass(frozen=True)
class DownloadedPart:
    """A part of a corpus on the disk.

    Attributes:
        name: Of the part.
        folder: Where it is.
        sha256: Of its archive.
        verified: Whether a published checksum of the archive is known, so that it was compared.
        existed: Whether it had been downloaded before.
    """

    name: str
    folder: Path
    sha256: str
    verified: bool
    existed: bool


def download_corpus(
    name: str,
    parts: Sequence[str] = (),
    to: Path | None = None,
    *,
    mirror: str | None = None,
    progress: bool = True,
) -> list[DownloadedPart]:
    """Downloads and unpacks a public corpus; does nothing for parts that are there.

    An interruption leaves ``ARCHIVE.part``, which the next call continues. A folder has its name
    only when it is complete; then its archive is removed.

    Args:
        name: Name of a corpus in ``DOWNLOADS``.
        parts: Names of its parts; by default all, unless the corpus is large.
        to: Folder to download to; ``data_root() / "downloads" / name`` by default.
        mirror: URL of a folder that has the archives, instead of the publisher's servers.
        progress: Whether to show progress bars on stderr, if it is a terminal.

    Returns:
        The parts, in the order of ``parts``.

    Raises:
        InputError: The corpus or a part is unknown, no server has the archive, its checksum is
            wrong, it is damaged, or there is too little space on the disk.
    """
    archives = _choose(name, parts)
    if not hasattr(tarfile, "data_filter"):
        raise InputError(
            f"found Python {sys.version.split()[0]}, expected 3.11.4 or later: earlier ones cannot "
            "unpack archives safely"
        )
    if mirror is not None and not mirror.startswith(("http://", "https://")):
        raise ArgumentError("mirror", f"found {mirror}, expected a URL of http or https")
    folder = default_folder(name) if to is None else to
    return [
        _download(part, archive, folder, mirror, progress) for part, archive in archives.items()
    ]


def default_folder(name: str) -> Path:
    """Where a corpus is downloaded to: mini_librispeech repeats parts of librispeech."""
    return data_root() / "downloads" / name


def _choose(name: str, parts: Sequence[str]) -> dict[str, Archive]:
    """The archives to download, by part."""
    if name in BY_HAND:
        raise InputError(f"{name}: {BY_HAND[name]}")
    if name not in DOWNLOADS:
        if name in CORPORA:
            raise InputError(f"{name}: nothing to download for it, only for {', '.join(DOWNLOADS)}")
        raise InputError(f"unknown corpus {name!r}{suggest(name, [*DOWNLOADS, *BY_HAND])}")
    known = DOWNLOADS[name].parts
    for part in parts:
        if part not in known:
            raise ArgumentError("part", f"unknown part {part!r} of {name}{suggest(part, known)}")
    if not parts and not DOWNLOADS[name].all_by_default:
        sizes = ", ".join(
            f"{part} ({archive.size / 1e9:.1f} GB)" for part, archive in known.items()
        )
        raise ArgumentError("part", f"found none, expected one or more of {sizes}")
    return {part: known[part] for part in parts or known}


def _download(
    part: str, archive: Archive, to: Path, mirror: str | None, progress: bool
) -> DownloadedPart:
    target, path = to / archive.folder, to / archive.name
    if (receipt := target / RECEIPT_FILE).is_file():
        path.unlink(missing_ok=True)  # left when the process was killed at its end
        sha256 = str(json.loads(receipt.read_text(encoding="utf-8"))["sha256"])
        return DownloadedPart(part, target, sha256, archive.checksum is not None, existed=True)
    _check_target(target)
    to.mkdir(parents=True, exist_ok=True)
    url = None  # unknown if the archive is there already
    if path.exists():
        _check_space(to, _UNPACKED * archive.size)
        sha256 = _verify(path, archive, part, progress, "remove it to download it again")
    else:
        with _locked(to / f"{archive.name}.part") as partial:
            _check_space(to, (1 + _UNPACKED) * archive.size - partial.stat().st_size)
            url = _transfer(archive, partial, part, mirror, progress)
            try:
                sha256 = _verify(
                    partial, archive, part, progress, "removed; another call starts over"
                )
            except InputError:
                os.truncate(partial, 0)
                raise
        partial.rename(path)
    size = path.stat().st_size
    with atomic_folder(target, _check_target) as new:
        _unpack(path, archive, new, target, part, progress)
        write_json(
            new / RECEIPT_FILE,
            {"archive": archive.name, "url": url, "size": size, "sha256": sha256},
        )
    path.unlink()
    return DownloadedPart(part, target, sha256, archive.checksum is not None, existed=False)


def _check_target(target: Path) -> None:
    if target.exists():
        raise InputError(
            f"{target}: exists, and is no complete download of this program; prepare it as it is, "
            "or move it away"
        )


def _check_space(folder: Path, needed: float) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: found {free / 1e9:.1f} GB of free space, expected {needed / 1e9:.1f} GB "
            "for the archive and what is in it"
        )


@contextmanager
def _locked(partial: Path) -> Iterator[Path]:
    """Keeps other processes from writing the same file."""
    with partial.open("ab") as file:
        if try_lock(file.fileno()) is False:
            raise InputError(f"{partial}: another process is downloading this file")
        try:
            yield partial
        except BaseException:
            if partial.stat().st_size == 0 and sys.platform != "win32":
                partial.unlink()
            raise


def _transfer(
    archive: Archive, partial: Path, part: str, mirror: str | None, progress: bool
) -> str:
    urls = archive.urls if mirror is None else (f"{mirror.rstrip('/')}/{archive.name}",)
    with byte_bar(f"Downloading {part}", archive.size, progress) as show:
        return fetch(
            urls,
            partial,
            archive.size,
            exact=archive.exact,
            redirects=archive.redirects,
            show=show,
        )


def _verify(path: Path, archive: Archive, part: str, progress: bool, remedy: str) -> str:
    """Compares the checksum of an archive with the published one.

    Args:
        path: The archive.
        archive: What it should be.
        part: Name of the part.
        progress: Whether to show a progress bar.
        remedy: End of the error message.

    Returns:
        Its SHA-256.
    """
    algorithm, _, expected = (archive.checksum or "sha256:").partition(":")
    digests = {name: hashlib.new(name) for name in {"sha256", algorithm}}
    with (
        path.open("rb") as file,
        byte_bar(f"Checking {part}", path.stat().st_size, progress) as show,
    ):
        while chunk := file.read(1 << 20):
            for digest in digests.values():
                digest.update(chunk)
            show(file.tell())
    found = digests[algorithm].hexdigest()
    if expected and found != expected:
        raise InputError(
            f"{path}: found {algorithm.upper()} {found}, expected {expected}; {remedy}"
        )
    return digests["sha256"].hexdigest()


def _unpack(
    path: Path, archive: Archive, new: Path, target: Path, part: str, progress: bool
) -> None:
    """Moves what is in an archive to a new folder, and the files beside it beside the target."""
    staging = new / ".unpacked"
    staging.mkdir()
    with byte_bar(f"Unpacking {part}", path.stat().st_size, progress) as show:
        unpack(path, staging, show)
    content = staging / archive.folder
    if not content.is_dir():
        raise InputError(f"{path}: found no folder {archive.folder} in it")
    for child in content.iterdir():
        child.rename(new / child.name)
    if content.parent != staging:
        for beside in content.parent.iterdir():
            if beside.is_file():
                beside.replace(target.parent / beside.name)
    shutil.rmtree(staging)
