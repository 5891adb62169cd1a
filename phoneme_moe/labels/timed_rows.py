"""Text files with a label and its times per line, as HTK, Festival and Audacity write them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from phoneme_moe.errors import InputError
from phoneme_moe.files.text_files import split_lines
from phoneme_moe.labels.textgrid import OVERLAP, Interval

_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"
_ROW = re.compile(rf"({_NUMBER})\s+({_NUMBER})(?:\s+(\S.*))?")
_FESTIVAL_ROW = re.compile(rf"({_NUMBER})\s+-?[0-9]+(?:\s+(\S.*))?")
_HTK_UNIT = 1e-7
_SHORTEST_HTK = 100_000
"""An HTK file is longer than these 10 ms; phonemes of X-SAMPA may look like times (``2 9 a``)."""


def parse_timed_rows(text: str, where: str) -> tuple[Interval, ...] | None:
    """Parses a label file if most of its lines have times; then all must have.

    Three formats are recognised: ``START END LABEL`` of HTK, whole numbers of 100 ns; the same in
    seconds with a decimal point (Audacity, WaveSurfer); and ``END COLOUR LABEL`` in seconds after a
    line ``#`` (Festival, ESPS).

    Args:
        text: Content of the file.
        where: The file, for error messages.

    Returns:
        Intervals in order of time; None if the text is not of these formats.

    Raises:
        InputError: A line has no times, times are not in order, or the file is a master label file.
    """
    lines = [(n, line.strip()) for n, line in enumerate(split_lines(text), 1) if line.strip()]
    if lines and lines[0][1].upper() == "#!MLF!#":
        raise InputError(
            f"{where}: found a master label file of HTK, expected a label file per recording"
        )
    contents = [line for _, line in lines]
    if "#" in contents:
        lines = lines[contents.index("#") + 1 :]
        rows = _festival_rows([line for _, line in lines])
    else:
        # A second line with a backslash has the frequencies of a selection in Audacity.
        lines = [(number, line) for number, line in lines if not line.startswith("\\")]
        rows = _start_end_rows([line for _, line in lines])
    if 2 * rows.count(None) >= len(rows):
        return None
    intervals: list[Interval] = []
    previous_end = 0.0
    for (number, line), row in zip(lines, rows, strict=True):
        if row is None:
            raise InputError(
                f"{where}: line {number}: found {line[:80]!r}, expected times and a label, as in "
                "other lines"
            )
        if not previous_end - OVERLAP <= row.start <= row.end < math.inf:
            raise InputError(
                f"{where}: line {number}: found {row.start:g} to {row.end:g} s, expected times in "
                f"order, after {previous_end:g} s"
            )
        previous_end = row.end
        intervals.append(row)
    return tuple(intervals)


def _start_end_rows(lines: Sequence[str]) -> list[Interval | None]:
    """Rows ``START END LABEL``; None for other lines."""
    matches = [_ROW.fullmatch(line) for line in lines]
    found = [match for match in matches if match]
    if not all(match[1].isdigit() and match[2].isdigit() for match in found):
        return [m and Interval(float(m[1]), float(m[2]), m[3] or "") for m in matches]
    if max((float(match[2]) for match in found), default=0.0) < _SHORTEST_HTK:
        return [None] * len(lines)
    return [m and _htk_row(m[1], m[2], m[3] or "") for m in matches]


def _htk_row(start: str, end: str, rest: str) -> Interval:
    # Further columns are scores, and labels of other levels.
    return Interval(float(start) * _HTK_UNIT, float(end) * _HTK_UNIT, "".join(rest.split()[:1]))


def _festival_rows(lines: Sequence[str]) -> list[Interval | None]:
    """Rows ``END COLOUR LABEL``; None for other lines."""
    rows: list[Interval | None] = []
    start = 0.0
    for line in lines:
        match = _FESTIVAL_ROW.fullmatch(line)
        if match is None:
            rows.append(None)
            continue
        end = float(match[1])
        # The line may end with further fields after a semicolon.
        rows.append(Interval(start, end, (match[2] or "").partition(";")[0].strip()))
        start = end
    return rows
