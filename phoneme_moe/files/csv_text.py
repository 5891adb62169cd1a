"""CSV that people open in spreadsheets, where names from outside must not become formulas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from phoneme_moe.system.terminal import printable

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_GUARDED = re.compile(r"'*[=+\-@＝＋－＠].")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, with text cells as in ``csv_cell``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def csv_cell(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay, also as text.

    Text that begins with ``=``, ``+``, ``-`` or ``@`` and goes on gets an apostrophe before it
    (OWASP, CSV injection), as does such text with apostrophes, so that ``original_cell`` finds the
    text. Control characters are escaped, so that a row is a line.
    """
    if not isinstance(cell, str):
        return cell
    shown = printable(cell)
    return f"'{shown}" if _GUARDED.match(shown) and not _NUMBER.fullmatch(shown) else shown


def original_cell(text: str) -> str:
    """The text of a cell without the apostrophe of ``csv_cell``."""
    return text[1:] if text.startswith("'") and _GUARDED.match(text) else text
