"""Unpacking of archives that others made: plain files and folders, inside one folder."""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from phoneme_moe.errors import InputError

_LARGEST_GROWTH = 10
"""Speech in archives grows to less than twice its size; more than this is an attack."""


def unpack(archive: Path, folder: Path, show: Callable[[int], None] = lambda size: None) -> None:
    """Unpacks a ``.tar.gz`` or ``.zip`` file, and checks all of its own checksums.

    Args:
        archive: The archive.
        folder: An empty folder.
        show: Called with the number of bytes of the archive that are unpacked.

    Raises:
        InputError: The archive is damaged, or an entry is a link or a device, leads out of the
            folder, or unpacks to more than ten times the size of the archive.
    """
    unpack_kind = _unpack_zip if archive.suffix == ".zip" else _unpack_tar
    try:
        unpack_kind(archive, folder, show)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        NotImplementedError,  # of zipfile, for a compression that it does not know
    ) as error:
        raise InputError(f"{archive}: damaged ({error}); remove it to download it again") from error


class _Limit:
    """Counts what is unpacked."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.left = _LARGEST_GROWTH * archive.stat().st_size

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise InputError(
                f"{self.archive}: unpacks to more than {_LARGEST_GROWTH} times its size"
            )


def _unpack_tar(archive: Path, folder: Path, show: Callable[[int], None]) -> None:
    limit = _Limit(archive)

    def plain(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
        if not (member.isreg() or member.isdir()):
            raise InputError(f"{archive}: {member.name}: found a link or a device, expected a file")
        limit.take(member.size)
        return tarfile.data_filter(member, path)

    with archive.open("rb") as raw, gzip.open(raw) as content:
        with tarfile.open(fileobj=content, mode="r|") as tar:
            for member in tar:
                tar.extract(member, folder, filter=plain)
                show(raw.tell())
        while content.read(1 << 20):  # its checksum comes last
            pass


def _unpack_zip(archive: Path, folder: Path, show: Callable[[int], None]) -> None:
    limit = _Limit(archive)
    done = 0
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
                raise InputError(
                    f"{archive}: {member.filename}: found a link or a locked file, expected a file"
                )
            if ".." in PurePosixPath(member.filename).parts:
                raise InputError(f"{archive}: {member.filename}: leads out of the folder")
            limit.take(member.file_size)
            content.extract(member, folder)
            done += member.compress_size
            show(done)
