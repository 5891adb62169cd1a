"""Text tables: lines of a key and a value as in Kaldi, or columns with tabs between them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from phoneme_moe.errors import InputError
from phoneme_moe.files.text_files import read_text, split_lines

_SEPARATOR = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class Entry:
    """A value and its position (``FILE:LINE``) for error messages."""

    value: str
    where: str


class Row(dict[str, str]):
    """A row of a table with named columns, and its position ``FILE:LINE`` for error messages."""

    def __init__(self, cells: Iterable[tuple[str, str]], where: str) -> None:
        """Creates a row.

        Args:
            cells: Name of the column and content of each cell.
            where: The position.
        """
        super().__init__(cells)
        self.where = where


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yields the lines that are not blank, with their positions ``FILE:LINE``.

    Raises:
        InputError: The file cannot be read, or is neither UTF-8 nor UTF-16.
    """
    for number, line in enumerate(split_lines(read_text(file)), start=1):
        if line.strip():
            yield line.strip(), f"{file}:{number}"


def read_table(file: Path, what: str, may_be_empty: bool = False) -> dict[str, Entry]:
    """Reads lines ``KEY VALUE``, separated by tabs or spaces.

    Args:
        file: The table.
        what: Format of a line for error messages, such as ``"UTTERANCE SPEAKER"``.
        may_be_empty: Whether a line may have no value, as a transcript without words.

    Raises:
        InputError: A line has no value, or a key occurs twice; the message names the line.
    """
    table: dict[str, Entry] = {}
    for line, where in read_lines(file):
        key, *values = _SEPARATOR.split(line, maxsplit=1)
        if not values and not may_be_empty:
            raise InputError(f"{where}: expected '{what}', found {line[:80]!r}")
        value = "".join(values)
        if key in table:
            raise InputError(f"{where}: {key!r} occurs twice ({table[key].where})")
        table[key] = Entry(value, where)
    return table


def read_rows(file: Path, columns: Collection[str]) -> Iterator[Row]:
    """Reads a table with tabs between its columns, whose names are in the first line.

    Quotes have no meaning.

    Args:
        file: The table.
        columns: Columns that it must have.

    Raises:
        InputError: A column is missing, or a line has more or fewer cells than the first one.
    """
    header, *lines = split_lines(read_text(file)) or [""]
    names = header.split("\t")
    missing = ", ".join(column for column in columns if column not in names)
    if missing:
        raise InputError(
            f"{file}:1: found the columns {', '.join(names)[:200]}; expected also {missing}"
        )
    for number, line in enumerate(lines, start=2):
        cells = line.split("\t")
        if not line.strip():
            continue
        if len(cells) != len(names):
            raise InputError(
                f"{file}:{number}: found {len(cells)} cells, expected {len(names)} with tabs "
                "between them"
            )
        yield Row(zip(names, cells, strict=True), f"{file}:{number}")


def read_sexes(file: Path) -> dict[str, str]:
    """Reads ``spk2gender`` as ``"M"`` or ``"F"`` for each speaker.

    Raises:
        InputError: A value is not m, f, male or female.
    """
    sexes = {}
    for speaker, entry in read_table(file, "SPEAKER m|f").items():
        if entry.value.lower() not in {"m", "f", "male", "female"}:
            raise InputError(f"{entry.where}: expected 'm' or 'f', found {entry.value!r}")
        sexes[speaker] = entry.value[0].upper()
    return sexes


def require_files(folder: Path, names: tuple[str, ...], what: str) -> None:
    """Checks that a folder has the files of a corpus.

    Raises:
        InputError: Files are missing; the message names them and the content of the folder.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder}: not {what}: looked for {', '.join(names)}; "
            f"{', '.join(missing)} missing, found {contents_of(folder)}"
        )


def contents_of(folder: Path) -> str:
    """The first few names in a folder, for error messages."""
    if not folder.is_dir():
        return "a file, not a folder" if folder.exists() else "no such folder"
    names = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(names[:5]) or "nothing"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
