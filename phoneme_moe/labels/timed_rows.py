"""Text files with a label and its times per line, as HTK, Festival and Audacity write them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from phoneme_moe.errors import InputError
from phoneme_moe.labels.textgrid import OVERLAP, Interval
from phoneme_moe.text_files import split_lines

_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"
_ROW = re.compile(rf"({_NUMBER})\s+({_NUMBER})(?:\s+(\S.*))?")
_FESTIVAL_ROW = re.compile(rf"({_NUMBER})\s+-?[0-9]+(?:\s+(\S.*))?")
_HTK_UNIT = 1e-7
_SHORTEST_HTK = 100_000
"""An HTK file is longer than these 10 ms; phonemes of X-SAMPA may look like times (``2 9 a``)."""


def parse_timed_rows(text: str, where: str) -> tuple[Interval, ...] | None:
    """Parses a label file if every line of it has times.

    Three formats are recognised: ``START END LABEL`` of HTK, whole numbers of 100 ns; the same in
    seconds with a decimal point (Audacity, WaveSurfer); and ``END COLOUR LABEL`` in seconds after a
    line ``#`` (Festival, ESPS).

    Args:
        text: Content of the file.
        where: The file, for error messages.

    Returns:
        Intervals in order of time; None if the text is not of these formats.

    Raises:
        InputError: Times are not in order, or the file is a master label file.
    """
    lines = [(n, line.strip()) for n, line in enumerate(split_lines(text), 1) if line.strip()]
    if lines and lines[0][1].upper() == "#!MLF!#":
        raise InputError(
            f"{where}: found a master label file of HTK, expected a label file per recording"
        )
    contents = [line for _, line in lines]
    if "#" in contents:
        header = contents.index("#") + 1
        rows = _festival_rows(contents[header:])
        numbers = [number for number, _ in lines[header:]]
    else:
        # A second line with a backslash has the frequencies of a selection in Audacity.
        kept = [(number, line) for number, line in lines if not line.startswith("\\")]
        rows = _start_end_rows([line for _, line in kept])
        numbers = [number for number, _ in kept]
    if not rows:
        return None
    previous_end = 0.0
    for number, row in zip(numbers, rows, strict=True):
        if not previous_end - OVERLAP <= row.start <= row.end < math.inf:
            raise InputError(
                f"{where}: line {number}: found {row.start:g} to {row.end:g} s, expected times in "
                f"order, after {previous_end:g} s"
            )
        previous_end = row.end
    return tuple(rows)


def _start_end_rows(lines: Sequence[str]) -> list[Interval]:
    """Rows ``START END LABEL``; none if a line is different."""
    matches = [_ROW.fullmatch(line) for line in lines]
    found = [match for match in matches if match]
    if len(found) < len(matches) or not found:
        return []
    htk = all(match[1].isdigit() and match[2].isdigit() for match in found)
    if not htk:
        return [Interval(float(m[1]), float(m[2]), m[3] or "") for m in found]
    if max(float(match[2]) for match in found) < _SHORTEST_HTK:
        return []
    # HTK has scores and labels of other levels in further columns.
    times = [(float(m[1]) * _HTK_UNIT, float(m[2]) * _HTK_UNIT) for m in found]
    labels = ["".join((m[3] or "").split()[:1]) for m in found]
    return [Interval(*span, label) for span, label in zip(times, labels, strict=True)]


def _festival_rows(lines: Sequence[str]) -> list[Interval]:
    rows = []
    start = 0.0
    for line in lines:
        match = _FESTIVAL_ROW.fullmatch(line)
        if match is None:
            return []
        end = float(match[1])
        # The line may end with further fields after a semicolon.
        rows.append(Interval(start, end, (match[2] or "").partition(";")[0].strip()))
        start = end
    return rows
