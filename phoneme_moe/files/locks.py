"""Locks between processes. A lock ends with the process that holds it, however that ends.

A file system without locks (some network file systems) keeps nobody out.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from phoneme_moe.errors import InputError

LOCK = ".lock"
"""The file that is locked in a folder to which a process writes; removed at the end."""

SECONDS_BETWEEN_TRIES = 0.2

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the content, which stays readable
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def try_lock(descriptor: int) -> bool | None:
    """Locks an open file until it is closed, without waiting.

    Returns:
        Whether the file is locked; None if its file system has no locks.
    """
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def is_open_at(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to an open file; another process may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


_held: set[int] = set()
"""Descriptors of the folders that this process has locked."""


def leave_locks_to_parent() -> None:
    """Closes what a forked process has of its parent's locks, which then end with the parent."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


@contextmanager
def lock_folder(
    folder: Path, wait: Callable[[], None] | None = None, shown: Path | None = None
) -> Iterator[None]:
    """Keeps other processes out of a folder, which is created if it does not exist.

    A folder that was created is removed at the end if it is empty.

    Args:
        folder: The folder.
        wait: If given, waits for a process that holds the lock, and calls this first.
        shown: The folder to name in messages, if different.

    Raises:
        InputError: Another process holds the lock.
        OSError: The folder cannot be written to.
    """
    created = not folder.exists()
    path = folder / LOCK
    try:
        descriptor = _take(path)
        if descriptor is None and wait is not None:
            wait()
        while descriptor is None and wait is not None:
            time.sleep(SECONDS_BETWEEN_TRIES)
            descriptor = _take(path)
    except OSError as error:
        error.filename = str(shown or folder)
        raise
    if descriptor is None:
        raise InputError(
            f"{shown or folder}: another process{_holder(path)} is writing this folder; wait until "
            "it ends, or choose another folder"
        )
    _held.add(descriptor)
    try:
        with suppress(OSError):  # a full disk; the number is only for the message
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        _held.discard(descriptor)
        if sys.platform == "win32":  # where an open file cannot be removed
            os.close(descriptor)
        with suppress(OSError):
            path.unlink()
        if sys.platform != "win32":  # where closing first would let another process in
            os.close(descriptor)
        if created:
            with suppress(OSError):
                folder.rmdir()


def _take(path: Path) -> int | None:
    """Creates and locks a file; None if another process has locked it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the folder was removed in the meantime
            continue
        except PermissionError:
            if sys.platform == "win32":  # the holder is removing it
                return None
            raise
        locked = try_lock(descriptor)
        if locked is not False and is_open_at(path, descriptor):
            return descriptor
        os.close(descriptor)
        if locked is False:
            return None


def _holder(path: Path) -> str:
    """The process that holds the lock, for the message."""
    try:
        number = path.read_bytes()[:20].decode("ascii", "replace")
    except OSError:
        return ""
    return f" ({number})" if number.isdigit() else ""
