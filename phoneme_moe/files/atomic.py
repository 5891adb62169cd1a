"""Atomic writing: a file or a folder is written completely or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from phoneme_moe.errors import InputError
from phoneme_moe.files.locks import LOCK, is_open_at, lock_folder, try_lock

_PREFIX = ".phoneme-moe.partial-"
_TEMPORARY = re.compile(
    rf"{re.escape(_PREFIX)}[0-9a-f]{{16}}(-\d+(\..*)?)?|\..+\.partial-[a-z0-9_]{{8}}(\.[^.]*)?"
)
"""Names of temporary files and folders; the second form is that of version 0.1."""

_LONGEST_SUFFIX = 12


@contextmanager
def atomic_path(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path, which replaces ``path`` if the block ends without an error.

    A killed process leaves its temporary file; the next one that writes ``path`` uses it again.

    Args:
        path: The file to write.
        durable: Whether the file is complete even after a power cut, for files by which others know
            that something is finished, and for what takes long to compute again.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = _create_temporary(path)
        try:
            yield temporary
            if durable:
                _flush_to_disk(temporary)
            temporary.replace(path)
            if durable:
                _flush_to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
            if descriptor is not None:
                os.close(descriptor)
    except OSError as error:
        # The error of a full disk does not name the file.
        error.filename = str(path)
        raise


def _temporary_name(path: Path) -> str:
    """A hidden name, short however long that of the target is."""
    return _PREFIX + hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()


def _create_temporary(path: Path) -> tuple[Path, int | None]:
    """Creates an empty file beside a target.

    Returns:
        The first path that no living process uses, and the descriptor that locks it (None where
        files that are open cannot be renamed).
    """
    # Some libraries look at the suffix.
    suffix = path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""
    for number in count():
        temporary = path.with_name(f"{_temporary_name(path)}-{number}{suffix}")
        created = True
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            created = False
            try:
                descriptor = os.open(temporary, os.O_RDWR)
            except (FileNotFoundError, PermissionError):
                continue
        if sys.platform == "win32":
            os.close(descriptor)
            if created:
                return temporary, None
            continue
        locked = try_lock(descriptor)
        if (locked or (locked is None and created)) and is_open_at(temporary, descriptor):
            os.ftruncate(descriptor, 0)
            return temporary, descriptor
        os.close(descriptor)
    raise AssertionError("unreachable")


def _flush_to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and sys.platform == "win32":  # where folders cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_folder(
    target: Path, check: Callable[[Path], None], wait: Callable[[], None] | None = None
) -> Iterator[Path]:
    """Yields a hidden folder, which replaces ``target`` if the block ends without an error.

    Only one process at a time writes a folder. What a killed one left is removed by the next.

    Args:
        target: The folder to write.
        check: Raises an error if the existing target must not be replaced; called with it at the
            start and at the end.
        wait: As for ``lock_folder``.

    Raises:
        InputError: Another process is writing the folder, or that of ``check``.
    """
    shown, target = target, target.resolve()
    hidden = target.with_name(_temporary_name(target))
    new, former = hidden / "new", hidden / "former"
    try:
        check(target)
    except BaseException:
        if target.exists():
            _remove_abandoned_folder(hidden)
        raise
    try:
        with _errors_of(hidden, shown), lock_folder(hidden, wait, shown):
            if former.exists() and not target.exists():  # killed between the two renames below
                former.rename(target)
            check(target)
            try:
                for left in (new, former):
                    shutil.rmtree(left, ignore_errors=True)
                new.mkdir()
                yield new
                check(target)
                if target.exists():
                    target.rename(former)
                try:
                    new.rename(target)
                except BaseException:
                    if former.exists():
                        former.rename(target)
                    raise
            finally:
                shutil.rmtree(new, ignore_errors=True)
                if target.exists():  # else the former one could not be renamed back
                    shutil.rmtree(former, ignore_errors=True)
    finally:
        with suppress(OSError):
            hidden.rmdir()  # which a killed process may have left


@contextmanager
def _errors_of(hidden: Path, shown: Path) -> Iterator[None]:
    """Names the target in errors of the hidden folder."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(error.filename).is_relative_to(hidden):
            error.filename = str(shown)
        raise


def remove_temporaries(folder: Path) -> None:
    """Removes what killed processes left of ``atomic_path`` and ``atomic_folder`` below a folder.

    Other hidden folders (``.git``, ``.ipynb_checkpoints``) are skipped.
    """
    for parent, folders, names in os.walk(folder):
        for name in [name for name in folders if _TEMPORARY.fullmatch(name)]:
            _remove_abandoned_folder(Path(parent, name))
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if _TEMPORARY.fullmatch(name):
                _remove_abandoned(Path(parent, name))


def _remove_abandoned_folder(hidden: Path) -> None:
    """Removes a hidden folder unless a living process is writing it."""
    if hidden.exists():
        with suppress(InputError, OSError), lock_folder(hidden):
            shutil.rmtree(hidden, ignore_errors=True)


def _remove_abandoned(temporary: Path) -> None:
    """Removes a temporary file unless a living process is writing it."""
    with temporary.open("rb") as file:
        if sys.platform == "win32" or try_lock(file.fileno()) is False:
            return
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a path is a lock, or what is being written or was left by a killed process."""
    return path.name == LOCK or _TEMPORARY.fullmatch(path.name) is not None


def is_empty(folder: Path) -> bool:
    """Whether a folder has nothing but what ``is_temporary``."""
    return all(map(is_temporary, folder.iterdir()))
