"""The labels of recordings: files of the same name beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from phoneme_moe.errors import InputError
from phoneme_moe.files.text_files import read_text
from phoneme_moe.labels.textgrid import Interval, choose_tier, is_textgrid, read_textgrid
from phoneme_moe.labels.timed_rows import parse_timed_rows
from phoneme_moe.notation.normal_form import is_silence, split_phonemes

LABEL_SUFFIXES = (".textgrid", ".lab", ".txt")
"""Suffixes of label files, in small letters; the first that there is beside a recording is used."""

PHONEME_TIERS = ("phonemes", "phoneme", "phones", "phone", "mau", "segments", "segment")
WORD_TIERS = ("words", "word", "ort-mau", "ort", "transcript", "text", "utterance", "sentence")
"""Names of tiers in small letters, those of MFA and MAUS among them, the most usual first."""

MAX_OVERHANG = 0.1
"""Seconds by which labels may end after their recording; they are trimmed."""


@dataclass(frozen=True)
class Labels:
    """The labels of a recording; intervals of silence are left out.

    Attributes:
        file: The label file.
        symbols: Phonemes in their normal form, or words as written.
        times: Start and end of each phoneme in seconds; None if they are not known, as those of
            words, of points and of intervals with more than one phoneme.
        domain: Start and end of the time domain of a TextGrid, which may be a part of a longer one.
    """

    file: Path
    symbols: tuple[str, ...]
    times: tuple[tuple[float, float], ...] | None = None
    domain: tuple[float, float] = (0.0, 0.0)

    def within(self, duration: float) -> Labels:
        """The labels with times in a recording: labels of a cut-out part begin at its start.

        Args:
            duration: Duration of the recording in seconds.

        Raises:
            InputError: The labels begin before the recording or end after it.
        """
        if not self.times:
            return self
        start, end = self.domain
        last = self.times[-1][1]
        limit = duration + MAX_OVERHANG
        offset = start if last > limit >= end - start else 0.0
        times = tuple((first - offset, min(stop - offset, duration)) for first, stop in self.times)
        if times[0][0] < 0 or last - offset > limit or times[-1][0] >= duration:
            raise InputError(
                f"{self.file}: found labels from {self.times[0][0]:.3f} to {last:.3f} s, but the "
                f"recording lasts {duration:.3f} s"
            )
        return replace(self, times=times)


def label_files(recordings: Iterable[Path]) -> dict[Path, Path]:
    """Label files of the recordings that have one, by recording.

    Suffixes may be in capitals. The result does not depend on the order of the recordings.
    """
    beside: dict[Path, dict[tuple[str, str], Path]] = {}
    found = {}
    for recording in recordings:
        if recording.parent not in beside:
            files = sorted(recording.parent.iterdir(), reverse=True)
            beside[recording.parent] = {(file.stem, file.suffix.lower()): file for file in files}
        names = beside[recording.parent]
        for suffix in LABEL_SUFFIXES:
            file = names.get((recording.stem, suffix))
            if file is not None and file.is_file():
                found[recording] = file
                break
    return found


def read_phonemes(file: Path, tier: str | None = None) -> Labels:
    """Reads a label file of phonemes.

    Args:
        file: A TextGrid, or a text: timed rows (``timed_rows``), or phonemes separated by spaces.
        tier: Tier of a TextGrid; by default one of ``PHONEME_TIERS``.

    Raises:
        InputError: The file cannot be used, or has no such tier.
    """
    content = _read(file, tier, PHONEME_TIERS)
    if isinstance(content, str):
        return Labels(file, split_phonemes(content))
    spoken = [i for i in content.intervals if not is_silence(i.label.strip())]
    symbols = [split_phonemes(interval.label) for interval in spoken]
    if content.has_times and all(len(one) == 1 for one in symbols):
        times: list[tuple[float, float]] = []
        for interval in spoken:
            start = max(interval.start, times[-1][1]) if times else interval.start
            times.append((start, max(start, interval.end)))
        return Labels(file, tuple(one[0] for one in symbols), tuple(times), content.domain)
    return Labels(file, tuple(s for one in symbols for s in one if not is_silence(s)))


def read_words(file: Path, tier: str | None = None) -> Labels:
    """Reads a label file of words.

    Args:
        file: A TextGrid, or a text: timed rows, or words.
        tier: Tier of a TextGrid; by default one of ``WORD_TIERS``.

    Raises:
        InputError: The file cannot be used, or has no such tier.
    """
    content = _read(file, tier, WORD_TIERS)
    if isinstance(content, str):
        return Labels(file, tuple(content.split()))
    words = (word for interval in content.intervals for word in interval.label.split())
    # A silence that is spelled with letters (pau, sil) may be a word.
    return Labels(file, tuple(w for w in words if w.isalpha() or not is_silence(w)))


@dataclass(frozen=True)
class _Intervals:
    """Labelled intervals with their time domain; those of a point tier have no times."""

    intervals: tuple[Interval, ...]
    domain: tuple[float, float]
    has_times: bool = True


def _read(file: Path, tier: str | None, default: Sequence[str]) -> _Intervals | str:
    """The intervals of a label file, or its text if it has none."""
    if not is_textgrid(file):
        text = read_text(file)
        rows = parse_timed_rows(text, str(file))
        return text if rows is None else _Intervals(rows, (0.0, rows[-1].end))
    grid = read_textgrid(file)
    try:
        chosen = choose_tier(grid.tiers, tier, default)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return _Intervals(chosen.intervals, (grid.start, grid.end), not chosen.is_points)
