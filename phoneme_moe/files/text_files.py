"""Reading text files of any origin: UTF-8 or UTF-16, with or without a byte order mark.

Other encodings (Latin-1, Windows code pages) cannot be told apart by their bytes, so they are
refused with the first byte that is not UTF-8.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from phoneme_moe.errors import InputError

_MARKS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_END = re.compile(r"\r\n|\r|\n")


def read_text(file: Path) -> str:
    """Reads a text file; line ends are left as they are, and a byte order mark is removed.

    Raises:
        InputError: The file cannot be read, or is neither UTF-8 nor UTF-16; the message names the
            first wrong byte and its line.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    return decode_text(content, str(file))


def decode_text(content: bytes, where: str) -> str:
    """Decodes the content of a text file.

    Args:
        content: The bytes.
        where: The file, for error messages.

    Raises:
        InputError: As for ``read_text``.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if encoding is None:
        encoding = _encoding_without_mark(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(_LINE_END.findall(content[: error.start].decode("latin-1"))) + 1
        known = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
        raise InputError(
            f"{where}: byte {error.start} (line {line}): found 0x{content[error.start]:02X}, which "
            f"is not {known}; expected UTF-8 or UTF-16 text"
        ) from error
    if "\0" in text:
        line = len(_LINE_END.findall(text[: text.index("\0")])) + 1
        raise InputError(f"{where}: line {line}: found a NUL character, expected text")
    return text


def split_lines(text: str) -> list[str]:
    r"""Splits a text into lines as editors count them: at ``\n``, ``\r\n`` and ``\r`` only."""
    lines = _LINE_END.split(text)
    return lines[:-1] if lines and not lines[-1] else lines


def _encoding_without_mark(content: bytes) -> str:
    """UTF-16 without a mark has a zero byte beside every ASCII character."""
    start = content[:1024]
    if len(start) < 4 or len(content) % 2:
        return "utf-8"
    even, odd = start[::2].count(0), start[1::2].count(0)
    half = len(start) // 2
    if odd > 0.4 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.1 * half:
        return "utf-16-be"
    return "utf-8"
