"""Lists of recordings, one path per line, divided among processes.

The shard of a recording depends on its path alone (a hash), not on its line: processes that read
different versions of a list, or the output of ``find`` in another order, never share a recording.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from phoneme_moe.errors import ArgumentError, InputError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """One of several parts of a list.

    Attributes:
        index: Which one, from 1 to ``number``.
        number: Number of parts.
    """

    index: int = 1
    number: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard of ``3/100``.

        Raises:
            ArgumentError: The text is not of this form.
        """
        match = _SHARD.fullmatch(text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ArgumentError(
                "shard", f"found {text!r}, expected I/N with I from 1 to N, such as 3/100"
            )
        return cls(int(match[1]), int(match[2]))

    @property
    def name(self) -> str:
        """For file names, such as ``003-of-100``."""
        return f"{self.index:0{len(str(self.number))}}-of-{self.number}"

    def __str__(self) -> str:
        return f"{self.index} of {self.number}"

    def contains(self, path: str) -> bool:
        """Whether a recording, known by its absolute path, is in this shard."""
        return path_digest(path) % self.number == self.index - 1


def path_digest(path: str) -> int:
    """A hash of 64 bits, the same in every process and on every machine."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def read_list(source: Path) -> Iterator[str]:
    """Yields the paths of a list as they are written.

    Args:
        source: The file, or ``-`` for standard input. Blank lines are left out; everything else is
            part of a name, spaces included.

    Raises:
        InputError: The file cannot be read, or is not a list of paths.
    """
    if source == Path("-"):
        yield from _paths(sys.stdin.buffer, "-")
        return
    try:
        with source.open("rb") as lines:
            yield from _paths(lines, str(source))
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error})") from error


def _paths(lines: Iterable[bytes], where: str) -> Iterator[str]:
    found = False
    for number, line in enumerate(lines, start=1):
        path = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        path = path.removesuffix(b"\n").removesuffix(b"\r")
        if b"\0" in path:
            raise InputError(
                f"{where}: line {number}: found a NUL character, expected one path per line in "
                "UTF-8"
            )
        if path.strip():
            found = True
            yield os.fsdecode(path)
    if not found:
        raise InputError(f"{where}: found no paths, expected one per line")


def files_of_shard(paths: Iterable[str], shard: Shard) -> list[str]:
    """The recordings of a shard, in the order of the list and as written there, each once.

    Args:
        paths: All paths of the list; those of other shards take no memory.
        shard: The shard.
    """
    chosen: dict[str, str] = {}
    for path in paths:
        # Links stay as they are, and it is a hundred times faster than Path.resolve.
        absolute = os.path.abspath(path)  # noqa: PTH100
        if shard.contains(absolute):
            chosen.setdefault(absolute, path)
    return list(chosen.values())
