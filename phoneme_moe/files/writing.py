"""Writing of files, each completely or not at all; JSON, paths and names as text."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phoneme_moe.errors import InputError
from phoneme_moe.files.atomic import atomic_path

_DEVICES = {"con", "prn", "aux", "nul"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in range(10)
}
_NAME_ERRORS = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EINVAL}
_BEYOND_ASCII = re.compile("[^\x00-\x7e]+")
_ESCAPED_BYTE = re.compile(r"\\x[89a-f][0-9a-f]")


@contextmanager
def name_errors() -> Iterator[None]:
    """Turns errors that concern one file and not the others, unlike a full disk, to InputErrors.

    Raises:
        InputError: A file cannot have its name here.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NAME_ERRORS:
            raise
        raise InputError(f"{error.filename}: {error.strerror}") from error


def write_bytes(path: Path, content: bytes, durable: bool = False) -> None:
    """Writes a file atomically."""
    with atomic_path(path, durable) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Writes a text file atomically, as UTF-8; a surrogate of Python's becomes its escape."""
    with atomic_path(path, durable) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, data: Any, durable: bool = False) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json_text(data, indent=1) + "\n", durable)


def write_json_sections(path: Path, sections: Mapping[str, Any], durable: bool = False) -> None:
    """Writes a JSON object atomically, with a line for each key: large tables stay small."""
    lines = [f" {json_text(k)}: {json_text(v, compact=True)}" for k, v in sections.items()]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n", durable)


def json_text(data: Any, indent: int | None = None, compact: bool = False) -> str:
    """JSON without raw control characters, those beyond ASCII included.

    Args:
        data: Plain data.
        indent: Spaces for each level; one line by default.
        compact: Whether there are no spaces between keys and values.
    """
    separators = (",", ":") if compact else None
    text = json.dumps(
        data, ensure_ascii=False, indent=indent, separators=separators, allow_nan=False
    )
    return _BEYOND_ASCII.sub(lambda run: "".join(map(_json_character, run[0])), text)


def _json_character(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


def portable_name(name: str, max_bytes: int = 200) -> str:
    """A file name that every system permits, equal to ``name`` if that is one.

    Windows forbids some characters, a dot or space at the end, and the names of devices. A long
    name is cut and ends in its hash.

    Args:
        name: Any name of a file or folder.
        max_bytes: Longest name; systems permit 255, which leaves room for suffixes.
    """
    shown = unicodedata.normalize("NFC", name)
    portable = "".join(c if c.isprintable() and c not in '<>:"/\\|?*' else "_" for c in shown)
    if portable.endswith((".", " ")):
        portable = f"{portable[:-1]}_"
    if portable.partition(".")[0].strip().lower() in _DEVICES:
        portable = f"_{portable}"
    if len(portable.encode()) > max_bytes:
        digest = hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
        start = portable.encode()[: max_bytes - len(digest) - 1].decode(errors="ignore")
        portable = f"{start}-{digest}"
    return portable


def path_text(path: Path) -> str:
    r"""A path as valid Unicode, as which it enters JSON: different for different paths.

    On Linux, names may contain bytes that are not UTF-8. Such a byte becomes ``\xe9``, and a
    backslash in the same path, or in one that would be mistaken for such a path, is doubled.
    """
    raw = os.fsencode(path)
    text = raw.decode("utf-8", "backslashreplace")
    if _ESCAPED_BYTE.search(text):
        text = raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return text
