"""Text for terminals: whatever a name contains, it neither controls the terminal nor fails."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import sys
import unicodedata
from typing import TextIO

_UNDECODED = re.compile("[\udc80-\udcff]+")
"""Bytes of a file name that Python could not decode (PEP 383)."""


def printable(text: str, keep: str = "") -> str:
    r"""Text that a terminal shows as it is, in one line.

    Control characters (line ends, terminal escapes, the marks that reverse the direction of
    writing) become ``\n``, ``\x1b``, ``\u202e``; a byte that is not UTF-8 becomes ``\xe9``.

    Args:
        text: Any text, such as a message with a file name.
        keep: Characters to leave, such as a line end.
    """
    if text.isprintable():
        return text
    text = _UNDECODED.sub(_decoded, text)
    return "".join(
        character if _is_shown(character) or character in keep else _escaped(character)
        for character in text
    )


def _decoded(run: re.Match[str]) -> str:
    # Whole characters appear where Python decoded the names as ASCII.
    return run[0].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_shown(character: str) -> bool:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return True
    # Joiners form letters of Persian and of Indian languages.
    return character in "\u200c\u200d"


def _escaped(character: str) -> str:
    if "\x80" <= character <= "\x9f":
        return f"\\u{ord(character):04x}"  # \x85 would be taken for a byte
    return character.encode("unicode_escape").decode("ascii")


def print_line(*columns: object, stream: TextIO | None = None) -> None:
    """Prints one line at once, its columns separated by tabs and escaped as in ``printable``.

    Args:
        columns: One or more columns.
        stream: Standard output by default.
    """
    line = "\t".join(printable(str(column)) for column in columns)
    print(line, file=stream or sys.stdout, flush=True)


def print_error(text: object) -> None:
    """Prints one line to standard error."""
    print_line(text, stream=sys.stderr)


def configure_output() -> None:
    r"""Prepares standard output and error for any text.

    A character that the encoding lacks becomes ``\u00e9``, which is also its escape in JSON. Pipes
    and redirected output are UTF-8, as the files that commands write, unless ``PYTHONIOENCODING``
    asks for something else.
    """
    codecs.register_error("phoneme_moe.escape", _escape_unencodable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            chosen = stream is sys.stderr or stream.isatty() or "PYTHONIOENCODING" in os.environ
            encoding = stream.encoding if chosen else "utf-8"
            stream.reconfigure(encoding=encoding, errors="phoneme_moe.escape")


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
