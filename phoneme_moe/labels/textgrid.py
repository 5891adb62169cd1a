"""Reading Praat's TextGrids in both text forms, long and short.

As Praat does, the reader takes free-standing numbers, ``"strings"`` and ``<flags>`` and ignores all
else, so that one grammar covers both forms and whatever programs write between the values.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from phoneme_moe.errors import InputError, suggest
from phoneme_moe.files.text_files import decode_text
from phoneme_moe.notation.symbol_table import read_symbol_table

OVERLAP = 1e-3
"""Overlap of intervals in seconds that is rounding."""

_HEADER = 'the file type "ooTextFile" and the object class "TextGrid"'
_TOKEN = re.compile(
    r'"(?P<string>[^"]*(?:""[^"]*)*)"'
    r"|(?<![^\s=])<(?P<flag>\w+)>"
    r"|(?<![^\s=])(?P<number>[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)(?!\S)"
    r"|(?<!\S)!.*"
    r'|(?P<open>")'
)


@dataclass(frozen=True)
class Interval:
    """A labelled interval; for a point of a point tier, start and end are the same.

    Attributes:
        start: Start in seconds.
        end: End in seconds.
        label: The label in Unicode, possibly empty.
    """

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Tier:
    """A tier of a TextGrid.

    Attributes:
        name: Name of the tier; several tiers may have the same.
        is_points: Whether it is a point tier.
        intervals: Intervals, or points, in order of time.
    """

    name: str
    is_points: bool
    intervals: tuple[Interval, ...]


@dataclass(frozen=True)
class TextGrid:
    """A TextGrid.

    Attributes:
        start: Start of the time domain in seconds.
        end: End of the time domain in seconds.
        tiers: The tiers, from top to bottom.
    """

    start: float
    end: float
    tiers: tuple[Tier, ...]


def is_textgrid(file: Path) -> bool:
    """Whether a file is a TextGrid (or another object of Praat), by its first bytes or its name.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(200).replace(b"\0", b"")  # as in UTF-16
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    by_name = file.suffix.lower() == ".textgrid"
    return by_name or b"ooTextFile" in head or head.startswith(b"ooBinaryFile")


def read_textgrid(file: Path) -> TextGrid:
    """Reads a TextGrid in UTF-8 or UTF-16.

    Raises:
        InputError: The file cannot be read, is no TextGrid in a text form, or is damaged; the
            message names the line.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    if content.startswith(b"ooBinaryFile"):
        raise InputError(
            f"{file}: found a binary TextGrid, expected a text file: in Praat, 'Save as text file'"
        )
    return parse_textgrid(decode_text(content, str(file)), str(file))


def parse_textgrid(text: str, where: str) -> TextGrid:
    """Parses a TextGrid.

    Args:
        text: Content of the file.
        where: The file, for error messages.

    Raises:
        InputError: As for ``read_textgrid``.
    """
    values = _Values(text, where)
    if not values.string(_HEADER).startswith("ooTextFile") or values.string(_HEADER) != "TextGrid":
        raise values.problem(_HEADER)
    start, end = values.times()
    has_tiers = values.flag() == "exists"
    tiers = [_tier(values) for _ in range(values.count())] if has_tiers else []
    return TextGrid(start, end, tuple(tiers))


def choose_tier(tiers: Sequence[Tier], name: str | None, default: Sequence[str]) -> Tier:
    """The tier of a name, or by default the first of several usual names.

    Args:
        tiers: All tiers.
        name: The name of the tier; upper and lower case count only if there are both.
        default: The usual names, in small letters, of which the first that exists is taken; also
            after the name of a speaker, as in ``ann - phones``.

    Raises:
        InputError: There is no such tier, or more than one; the message lists the tiers.
    """
    names = ", ".join(repr(tier.name) for tier in tiers) or "no tier"
    if name is not None:
        chosen = [tier for tier in tiers if tier.name == name] or [
            tier for tier in tiers if tier.name.lower() == name.lower()
        ]
        wanted = f"a tier {name!r}"
        hint = suggest(name, [tier.name for tier in tiers])
    else:
        chosen = next(
            (them for usual in default if (them := [t for t in tiers if _is_named(t, usual)])), []
        )
        wanted, hint = f"a tier {' or '.join(map(repr, default[:3]))}", "; choose one by its name"
    if len(chosen) != 1:
        found = f"{len(chosen)} of them among {names}" if chosen else names
        raise InputError(f"expected {wanted}, found {found}{hint}")
    return chosen[0]


def _is_named(tier: Tier, usual: str) -> bool:
    return tier.name.strip().lower().rpartition(" - ")[2] == usual


def _without_trigraphs(label: str) -> str:
    r"""The label with letters in place of Praat's trigraphs, such as ``\sw`` for ə."""
    if "\\" not in label:
        return label
    table = read_symbol_table("phoneme_moe.labels", "praat_unicode")
    return _trigraphs().sub(lambda match: table[match[0]], label)


@functools.cache
def _trigraphs() -> re.Pattern[str]:
    table = read_symbol_table("phoneme_moe.labels", "praat_unicode")
    return re.compile("|".join(map(re.escape, table)))


class _Values:
    """The free-standing values of a TextGrid, one after the other."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._matches = self._tokens()
        self._position = 0

    def string(self, expected: str = "a text in quotes") -> str:
        match = self._next("string", expected)
        return match["string"].replace('""', '"')

    def flag(self) -> str:
        return self._next("flag", "<exists> or <absent>")["flag"]

    def number(self, expected: str = "a time in seconds") -> float:
        value = float(self._next("number", expected)["number"])
        if not math.isfinite(value):
            raise self.problem(expected)
        return value

    def count(self) -> int:
        value = self.number("a number of tiers or intervals")
        if value < 0 or value != int(value):
            raise self.problem("a number of tiers or intervals")
        return int(value)

    def times(self) -> tuple[float, float]:
        start, end = self.number(), self.number()
        if start > end:
            raise self.problem(f"an end after {start} s")
        return start, end

    def problem(self, expected: str) -> InputError:
        line = len(re.findall(r"\r\n|\r|\n", self._text[: self._position])) + 1
        found = " ".join(self._text[self._position : self._position + 40].split()) or "the end"
        return InputError(f"{self._where}: line {line}: expected {expected}, found {found!r}")

    def _next(self, kind: str, expected: str) -> re.Match[str]:
        match = next(self._matches, None)
        self._position = len(self._text) if match is None else match.start()
        if match is None or match.lastgroup != kind:
            raise self.problem(expected)
        return match

    def _tokens(self) -> Iterator[re.Match[str]]:
        return (match for match in _TOKEN.finditer(self._text) if match.lastgroup)


def _tier(values: _Values) -> Tier:
    kind = values.string("the class of a tier")
    if kind not in {"IntervalTier", "TextTier"}:
        raise values.problem('"IntervalTier" or "TextTier"')
    is_points = kind == "TextTier"
    name = values.string("the name of a tier")
    values.times()
    intervals: list[Interval] = []
    for _ in range(values.count()):
        if is_points:
            start = end = values.number()
        else:
            start, end = values.times()
        previous_end = intervals[-1].end if intervals else -math.inf
        if start < previous_end - OVERLAP:
            raise values.problem(f"times after {previous_end} s in the tier {name!r}")
        label = _without_trigraphs(values.string("a label in quotes"))
        intervals.append(Interval(start, end, label))
    return Tier(name, is_points, tuple(intervals))
