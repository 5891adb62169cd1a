"""Table ``segments`` of a Kaldi data folder: utterances as parts of recordings.

The numbers are those of Kaldi's ``extract-segments``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phoneme_moe.corpora.tables import Entry, read_table
from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from phoneme_moe.corpora.manifest import AudioFile
    from phoneme_moe.corpora.notes import Notes

MAX_OVERSHOOT = 0.5
"""Seconds by which a segment may end after its recording."""
MIN_SECONDS = 0.1
"""Shortest segment."""
_FORMAT = "UTTERANCE RECORDING START END"
_SECONDS = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_CHANNEL = re.compile(r"[0-9]{1,3}")


@dataclass(frozen=True)
class Place:
    """Where an utterance is.

    Attributes:
        recording: Identifier of the recording.
        start: Start in seconds.
        end: End in seconds; None for the end of the recording.
        channel: Number of the channel, from 0; None for all of them, mixed.
        where: The line that says so.
    """

    recording: str
    start: float
    end: float | None
    channel: int | None
    where: str

    def span(self, file: AudioFile, notes: Notes) -> tuple[float, float] | None:
        """Start and end within the recording in seconds; None for a segment that is too short.

        Args:
            file: The recording.
            notes: Receives what is trimmed or left out.

        Raises:
            InputError: The segment is not within the recording, or it lacks the channel.
        """
        if self.channel is not None and self.channel >= file.num_channels:
            raise InputError(
                f"{self.where}: found the channel {self.channel}, but {file.path} has "
                f"{file.num_channels}, from 0"
            )
        duration = file.num_samples / file.sampling_rate
        end = duration if self.end is None else self.end
        if self.start >= duration or end > duration + MAX_OVERSHOOT:
            raise InputError(
                f"{self.where}: {self.start} to {end} s is not within {file.path}, "
                f"which lasts {duration:.3f} s"
            )
        if end > duration:
            notes.add("segments that end after their recording, trimmed", self.where)
            end = duration
        if (self.start, self.end) != (0.0, None) and end - self.start < MIN_SECONDS:
            notes.add(f"segments of less than {MIN_SECONDS} s, left out", self.where)
            return None
        return self.start, end


def read_places(folder: Path, recordings: Mapping[str, Entry]) -> dict[str, Place]:
    """Reads where each utterance is; without segments, every recording is an utterance.

    Args:
        folder: The data folder.
        recordings: Lines of ``wav.scp`` by recording.

    Raises:
        InputError: A line is malformed or names another recording.
    """
    table = folder / "segments"
    if not table.is_file():
        return {id: Place(id, 0.0, None, None, entry.where) for id, entry in recordings.items()}
    places = {}
    for id, entry in read_table(table, _FORMAT).items():
        recording, *numbers = entry.value.split()
        channel = numbers.pop() if len(numbers) == 3 else None
        if len(numbers) != 2 or not all(map(_SECONDS.fullmatch, numbers)):
            raise InputError(
                f"{entry.where}: expected '{_FORMAT}' in seconds, found {id} {entry.value[:80]!r}"
            )
        if channel is not None and not _CHANNEL.fullmatch(channel):
            raise InputError(f"{entry.where}: found {channel[:20]!r}, expected a channel, from 0")
        if recording not in recordings:
            raise InputError(f"{entry.where}: {recording!r} is not in {folder / 'wav.scp'}")
        start, end = map(float, numbers)
        if not 0 <= start < math.inf or not (end == -1 or start < end < math.inf):
            raise InputError(
                f"{entry.where}: found {start} to {end} s, expected an end after the start, or -1 "
                "for the end of the recording"
            )
        places[id] = Place(
            recording,
            start,
            None if end == -1 else end,
            None if channel is None else int(channel),
            entry.where,
        )
    return places
