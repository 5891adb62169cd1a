"""``metrics.csv`` and ``seconds.csv`` of a run: a row for each epoch of each stage."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from phoneme_moe.errors import InputError
from phoneme_moe.files.csv_text import csv_text, original_cell
from phoneme_moe.files.documents import read_limited, shorten, shorten_name
from phoneme_moe.files.text_files import decode_text, split_lines
from phoneme_moe.files.writing import write_text

Row: TypeAlias = dict[str, Any]
"""Numbers by column; the stage's name in ``stage``, the epoch's index in ``epoch``."""

MAX_BYTES = 20_000_000
MAX_DIGITS = 40


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows as CSV, with columns in the order in which they first occur."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = [columns, *([row.get(name, "") for name in columns] for row in rows)]
    write_text(path, csv_text(table))


def read_rows(path: Path) -> list[Row]:
    """Reads rows and parses numbers, so that rewriting them gives the same file.

    Args:
        path: The file; if there is none, there are no rows.

    Raises:
        InputError: The file cannot be read, or a cell is wrong; the message names its line.
    """
    if not path.exists() and not path.is_symlink():
        return []
    text = decode_text(read_limited(path, MAX_BYTES, "CSV"), str(path))
    table = csv.reader(split_lines(text))
    rows: list[Row] = []
    columns: list[str] = []
    try:
        for cells in table:
            if not columns:
                columns = [original_cell(name) for name in cells]
                missing = [name for name in ("stage", "epoch") if name not in columns]
                if missing:
                    raise ValueError(f"found no column {missing[0]}")
            elif len(cells) != len(columns):
                raise ValueError(f"found {len(cells)} cells, expected {len(columns)}")
            else:
                rows.append({n: _value(n, c) for n, c in zip(columns, cells, strict=True) if c})
                if not {"stage", "epoch"} <= rows[-1].keys():
                    raise ValueError("found no stage or epoch")
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: line {table.line_num}: {error}") from error
    return rows


def _value(column: str, cell: str) -> str | int | float:
    if column == "stage":
        return original_cell(cell)
    problem = f"{shorten_name(column)}: found {shorten(cell)}, expected a number"
    if len(cell) > MAX_DIGITS:
        raise ValueError(problem)
    try:
        number = int(cell) if column == "epoch" else float(cell)
    except ValueError:
        raise ValueError(problem) from None
    if column == "epoch" and number < 0:
        raise ValueError(problem)
    return number


def check_rows(rows: object) -> list[Row]:
    """Checks rows from a checkpoint.

    Raises:
        TypeError: They are not rows.
    """
    if not isinstance(rows, list):
        raise TypeError(f"found {shorten(rows)}, expected rows")
    for row in rows:
        holds = isinstance(row, dict) and {"stage", "epoch"} <= row.keys()
        for name, cell in row.items() if holds else ():
            kinds = str if name == "stage" else int if name == "epoch" else (int, float)
            holds = holds and isinstance(name, str) and isinstance(cell, kinds)
        if not holds:
            raise TypeError(f"found {shorten(row)}, expected a row")
    return list(rows)
