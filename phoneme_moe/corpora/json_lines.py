"""Files of JSON lines, plain or packed by gzip, within bounds."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import require_regular

MAX_LINE = 16_000_000
"""Most bytes of a line: an alignment of a recording of many hours takes less."""
MAX_EMPTY = 10_000
"""Most empty lines."""
MAX_RATIO = 200
"""Most bytes for a byte of a gzip file; manifests of a million cuts have less than 50."""
_SMALL = 64_000_000
"""Bytes that any gzip file may have."""


def read_json_lines(file: Path) -> Iterator[tuple[bytes, str]]:
    """Reads the lines that are not empty; the first bytes decide whether the file is packed.

    Yields:
        Each line, not parsed, and its place ``FILE:LINE``.

    Raises:
        InputError: The file cannot be read, is damaged, or exceeds a bound.
    """
    require_regular(file, "JSON lines")
    empty = 0
    for number, line in enumerate(_lines(file), start=1):
        if line.strip():
            yield line, f"{file}:{number}"
        else:
            empty += 1
            if empty > MAX_EMPTY:
                raise InputError(f"{file}:{number}: found more than {MAX_EMPTY:,} empty lines")


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as start:
            packed = start.read(2) == b"\x1f\x8b"
        most = max(_SMALL, MAX_RATIO * file.stat().st_size) if packed else None
        read = 0
        with gzip.open(file) if packed else file.open("rb") as stream:
            while line := stream.readline(MAX_LINE + 1):
                read += len(line)
                if len(line) > MAX_LINE:
                    raise InputError(f"{file}: found a line of more than {MAX_LINE:,} bytes")
                if most is not None and read > most:
                    raise InputError(
                        f"{file}: expands to more than {most:,} bytes, {MAX_RATIO} times its size"
                    )
                yield line.removeprefix(b"\xef\xbb\xbf")
    except (OSError, EOFError, zlib.error) as error:
        problem = getattr(error, "strerror", None) or error
        raise InputError(f"{file}: cannot be read ({problem})") from error
