"""From an audio file to features in memory, or beside it where the recording is long."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.features.audio import Waveform, audio_seconds, load_waveform, waveform_blocks
from phoneme_moe.features.log_mel_numpy import Floats, FrontEnd, Level

LONG_SECONDS = 120.0
"""Longer recordings are read in pieces, and what is known of their frames lies in a file."""

_PIECE = 6000  # frames

SILENCE_SECONDS = 0.15
"""Quiet this long is a silence; closures of stops are shorter."""


class Energies(Protocol):
    """Mel energies, in memory or in a file: frames are taken by slices."""

    def __len__(self) -> int: ...

    def __getitem__(self, frames: slice) -> Floats: ...


class SpooledEnergies:
    """Mel energies in a file without a name: gone with the process, whatever ends it."""

    def __init__(self, n_mels: int) -> None:
        """Begins without frames."""
        self.n_mels = n_mels
        # Open as long as this object lives: no block could close it.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._frames = 0

    def append(self, energies: Floats) -> None:
        """Adds frames, shape (frames, mel bands)."""
        self._file.write(energies.tobytes())
        self._file.flush()
        self._frames += len(energies)

    def __len__(self) -> int:
        return self._frames

    def __getitem__(self, frames: slice) -> Floats:
        first, last, _ = frames.indices(self._frames)
        size = 4 * self.n_mels
        # Read, not mapped: mapped pages would count as memory of the process.
        raw = os.pread(self._file.fileno(), max(0, last - first) * size, first * size)
        return np.frombuffer(raw, np.float32).reshape(-1, self.n_mels)


@dataclass(frozen=True)
class Recording:
    """A recording, ready to be listened to.

    Attributes:
        path: The file.
        duration: In seconds.
        energies: Mel energies, shape (frames, mel bands); of a long one in a file.
        level: What their normalisation needs.
        front_end: What made them.
    """

    path: Path
    duration: float
    energies: Energies
    level: Level
    front_end: FrontEnd

    @property
    def num_frames(self) -> int:
        """Feature frames."""
        return len(self.energies)

    def features(self, first: int = 0, last: int | None = None) -> Floats:
        """Of a stretch of frames, shape (frames, mel bands)."""
        return self.front_end.normalize(self.energies[slice(first, last)], self.level)

    def silences(self) -> list[tuple[float, float]]:
        """Start and end of its silences, in seconds."""
        nothing = np.empty(0, bool)
        quiet = np.concatenate([nothing, *map(self._quiet, _pieces(self.energies))])
        edges = np.flatnonzero(np.diff(quiet.astype(np.int8), prepend=0, append=0))
        seconds = self.front_end.frame_seconds
        found = []
        for first, last in edges.reshape(-1, 2).tolist():
            # The last frame may be a part of one.
            end = self.duration if last == self.num_frames else last * seconds
            if end - first * seconds >= SILENCE_SECONDS:
                found.append((first * seconds, end))
        return found

    def _quiet(self, energies: Floats) -> NDArray[np.bool_]:
        log_mel = self.front_end.log_mel(energies, self.level.loudest)
        quiet: NDArray[np.bool_] = log_mel.max(axis=1, initial=-np.inf) <= self.level.quiet
        # Of digital silence nothing is louder than the rest.
        return quiet if self.level.loudest > 1e-20 else np.ones_like(quiet)


def record(waveform: Waveform, path: Path, front_end: FrontEnd) -> Recording:
    """A recording from samples in memory, shape (samples,)."""
    energies = front_end.energies(waveform)
    duration = len(waveform) / front_end.sample_rate
    return Recording(path, duration, energies, front_end.level(lambda: [energies]), front_end)


def read_recording(path: Path, front_end: FrontEnd, channel: int | None = None) -> Recording:
    """Reads an audio file.

    Args:
        path: As ``features.audio.load_waveform`` takes it.
        front_end: Makes the features.
        channel: As in ``load_waveform``.

    Raises:
        InputError: The file is not audio that can be used.
        OSError: There is no space for what a long recording needs beside it.
    """
    if audio_seconds(path) <= LONG_SECONDS:
        return record(load_waveform(path, front_end.sample_rate, channel), path, front_end)
    spooled = SpooledEnergies(front_end.n_mels)
    num_samples = 0
    for energies, so_far in _energies(path, front_end, channel):
        num_samples = so_far
        spooled.append(energies)
    level = front_end.level(lambda: _pieces(spooled))
    return Recording(path, num_samples / front_end.sample_rate, spooled, level, front_end)


def _energies(path: Path, front_end: FrontEnd, channel: int | None) -> Iterator[tuple[Floats, int]]:
    """Energies of a file in pieces, and how many samples there have been."""
    hop, n_fft = front_end.hop, front_end.n_fft
    waiting = np.zeros(front_end.left, np.float32)
    num_samples = num_frames = 0
    for block in waveform_blocks(path, front_end.sample_rate, channel):
        num_samples += len(block)
        waiting = np.concatenate([waiting, block])
        found = front_end.energies_between(waiting)
        num_frames += len(found)
        waiting = waiting[len(found) * hop :]
        yield found, num_samples
    missing = num_samples // hop - num_frames
    if missing:
        rest = np.pad(waiting, (0, max(0, (missing - 1) * hop + n_fft - len(waiting))))
        yield front_end.energies_between(rest[: (missing - 1) * hop + n_fft]), num_samples


def _pieces(energies: Energies) -> Iterator[Floats]:
    """All frames in order."""
    return (energies[i : i + _PIECE] for i in range(0, len(energies), _PIECE))
