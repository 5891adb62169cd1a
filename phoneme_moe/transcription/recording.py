"""Recordings with their features, which are kept in a temporary file for long ones."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.audio.waveform import (
    Samples,
    Waveform,
    is_silent,
    load_waveform,
    waveform_blocks,
)
from phoneme_moe.features.log_mel_numpy import Floats, FrontEnd, Level

LONG_SECONDS = 120.0
"""Mel energies of longer recordings are kept in a temporary file."""

_BLOCK_FRAMES = 6000

SILENCE_SECONDS = 0.15
"""Length of the shortest silence; closures of stops are shorter."""


class EncodingFrontEnd(FrontEnd):
    """Front end of a model with a pretrained encoder, whose hidden states are the features.

    Mel energies, in frames of the same length, tell silences.
    """

    def __init__(self, encode: Callable[[Waveform], Floats], hop_ms: float) -> None:
        """Creates the front end.

        Args:
            encode: Computes the features of a waveform at 16 kHz, shape (frames, features).
            hop_ms: Frame shift in milliseconds.
        """
        super().__init__(sample_rate=16_000, n_mels=80, hop_ms=hop_ms)
        self.encode = encode


class Rows(Protocol):
    """Mel energies, or samples, in memory or in a file, read by slices."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Floats: ...


class SpooledRows:
    """Rows of numbers in an unnamed file, which the system deletes with the process."""

    def __init__(self, num_columns: int) -> None:
        """Starts with no rows."""
        self.num_columns = num_columns
        # Stays open as long as this object lives.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        # Seeking and reading are two steps, and Windows has no os.pread.
        self._lock = threading.Lock()
        self._num_rows = 0

    def append(self, rows: Floats) -> None:
        """Appends rows, shape (rows, columns)."""
        with self._lock:
            self._file.seek(0, os.SEEK_END)
            self._file.write(rows.tobytes())
        self._num_rows += len(rows)

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, rows: slice) -> Floats:
        first, last, _ = rows.indices(self._num_rows)
        size = 4 * self.num_columns
        # Read, not mapped: mapped pages would count as memory of the process.
        with self._lock:
            self._file.seek(first * size)
            raw = self._file.read(max(0, last - first) * size)
        return np.frombuffer(raw, np.float32).reshape(-1, self.num_columns)


@dataclass(frozen=True)
class Recording:
    """A recording with its mel energies.

    Attributes:
        path: The file.
        duration: Duration in seconds.
        energies: Mel energies, shape (frames, mel bands).
        level: Level used to normalise the energies.
        front_end: Front end that computed the energies.
        is_silent: Whether it has no sound at all.
        samples: The waveform, shape (samples, 1), for an ``EncodingFrontEnd``; otherwise None.
    """

    path: Path
    duration: float
    energies: Rows
    level: Level
    front_end: FrontEnd
    is_silent: bool = False
    samples: Rows | None = None

    @property
    def num_frames(self) -> int:
        """Number of feature frames."""
        return len(self.energies)

    def features(self, first: int = 0, last: int | None = None) -> Floats:
        """Features of a range of frames, shape (frames, features).

        Normalised log mel; or the hidden states of a pretrained encoder, to which the range is the
        whole recording.
        """
        if isinstance(self.front_end, EncodingFrontEnd):
            assert self.samples is not None
            hop = self.front_end.hop
            end = self.num_frames if last is None else min(last, self.num_frames)
            return self.front_end.encode(self.samples[slice(first * hop, end * hop)][:, 0])
        return self.front_end.normalize(self.energies[slice(first, last)], self.level)

    def silences(self) -> list[tuple[float, float]]:
        """Start and end of its silences, in seconds."""
        if self.is_silent:
            return [(0.0, self.duration)]
        blocks = map(self._is_quiet, _blocks(self.energies))
        quiet = np.concatenate([np.empty(0, bool), *blocks])
        edges = np.flatnonzero(np.diff(quiet.astype(np.int8), prepend=0, append=0))
        seconds = self.front_end.frame_seconds
        silences = []
        for first, last in edges.reshape(-1, 2).tolist():
            # The last frame may be incomplete.
            end = self.duration if last == self.num_frames else last * seconds
            if end - first * seconds >= SILENCE_SECONDS:
                silences.append((first * seconds, end))
        return silences

    def _is_quiet(self, energies: Floats) -> NDArray[np.bool_]:
        log_mel = self.front_end.log_mel(energies, self.level.loudest)
        quiet: NDArray[np.bool_] = log_mel.max(axis=1, initial=-np.inf) <= self.level.quiet
        # In digital silence all frames are equally loud.
        return quiet if self.level.loudest > 1e-20 else np.ones_like(quiet)


def source_path(audio: Path | Samples) -> Path:
    """The path of a file, or the name of samples in memory, for results and messages."""
    return Path(audio.name) if isinstance(audio, Samples) else audio


def record(waveform: Waveform, path: Path, front_end: FrontEnd) -> Recording:
    """Makes a recording from a waveform in memory, shape (samples,)."""
    energies = front_end.energies(waveform)
    duration = len(waveform) / front_end.sample_rate
    level = front_end.level(lambda: [energies])
    samples = waveform[:, None] if isinstance(front_end, EncodingFrontEnd) else None
    return Recording(path, duration, energies, level, front_end, is_silent(waveform), samples)


def read_recording(
    path: Path | Samples,
    front_end: FrontEnd,
    channel: int | None = None,
    long_seconds: float = LONG_SECONDS,
) -> Recording:
    """Reads an audio file, or takes samples in memory.

    Args:
        path: As in ``audio.waveform.load_waveform``.
        front_end: Front end that computes the features.
        channel: As in ``load_waveform``.
        long_seconds: Length in seconds above which energies are kept in a temporary file.

    Raises:
        InputError: The file is not usable audio.
        OSError: There is no space for the temporary file.
    """
    if isinstance(path, Samples):
        waveform = load_waveform(path, front_end.sample_rate, channel)
        return record(waveform, source_path(path), front_end)
    blocks = waveform_blocks(path, front_end.sample_rate, channel, long_seconds)
    first = next(blocks)
    second = next(blocks, None)
    if second is None:
        return record(first, path, front_end)
    spooled = SpooledRows(front_end.n_mels)
    samples = SpooledRows(1) if isinstance(front_end, EncodingFrontEnd) else None
    num_samples, silent = 0, True

    def heed(block: Waveform) -> Waveform:
        nonlocal silent
        silent = silent and is_silent(block)
        if samples is not None:
            samples.append(np.ascontiguousarray(block[:, None], np.float32))
        return block

    every = map(heed, chain((first, second), blocks))
    for energies, samples_so_far in _energies_of(every, front_end):
        spooled.append(energies)
        num_samples = samples_so_far
    level = front_end.level(lambda: _blocks(spooled))
    duration = num_samples / front_end.sample_rate
    return Recording(path, duration, spooled, level, front_end, silent, samples)


def _energies_of(blocks: Iterable[Waveform], front_end: FrontEnd) -> Iterator[tuple[Floats, int]]:
    """Energies of a waveform in blocks, each with the number of samples so far."""
    hop, n_fft = front_end.hop, front_end.n_fft
    waiting = np.zeros(front_end.left, np.float32)
    num_samples = num_frames = 0
    for block in blocks:
        num_samples += len(block)
        waiting = np.concatenate([waiting, block])
        energies = front_end.energies_between(waiting)
        num_frames += len(energies)
        waiting = waiting[len(energies) * hop :]
        yield energies, num_samples
    missing = num_samples // hop - num_frames
    if missing:
        rest = np.pad(waiting, (0, max(0, (missing - 1) * hop + n_fft - len(waiting))))
        yield front_end.energies_between(rest[: (missing - 1) * hop + n_fft]), num_samples


def _blocks(energies: Rows) -> Iterator[Floats]:
    """All frames in order."""
    return (energies[i : i + _BLOCK_FRAMES] for i in range(0, len(energies), _BLOCK_FRAMES))
