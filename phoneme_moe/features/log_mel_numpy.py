"""Log mel features in NumPy, for inference without torch; equivalent to ``log_mel.LogMel``.

Long recordings are processed in blocks: first the energies, then the normalisation statistics of
the whole recording, then the features of segments.

Legend: T frames, M mel bands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from phoneme_moe.audio.waveform import Waveform

DYNAMIC_RANGE_DB = 80.0
"""Floor of mel energies, relative to the loudest one of the utterance, so that quiet speakers are
not clipped (levels of speakers differ by 20 dB)."""

ACTIVE_RANGE_DB = 30.0
"""Frames this far below the loudest one are excluded from an utterance's mean and variance."""

_BLOCK = 4096  # frames at a time, to limit the memory for spectra

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """Normalisation statistics of a whole recording.

    Attributes:
        loudest: Greatest mel energy.
        mean: Mean log mel of the active frames, shape (1, mel bands) or (1, 1).
        scale: Divisor of the centred log mel.
    """

    loudest: float
    mean: Floats
    scale: float

    @property
    def quiet(self) -> float:
        """Log mel level below which a frame is quiet (``ACTIVE_RANGE_DB``)."""
        return _log(self.loudest) - ACTIVE_RANGE_DB / 10 * math.log(10)


class FrontEnd:
    """Acoustic front end: computes normalised log mel features of waveforms."""

    def __init__(
        self,
        sample_rate: int,
        n_mels: int,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        window: str = "hann",
        normalization: str = "utterance",
    ) -> None:
        """Sizes as in ``recipe.Features``."""
        self.sample_rate = sample_rate
        self.hop = round(sample_rate * hop_ms / 1000)
        length = round(sample_rate * window_ms / 1000)
        self.n_fft = 1 << (max(length, self.hop) - 1).bit_length()
        self.n_mels = n_mels
        self.normalization = normalization
        phase = 2 * np.pi * np.arange(length) / length
        shape = 0.5 - 0.5 * np.cos(phase) if window == "hann" else 0.54 - 0.46 * np.cos(phase)
        left = (self.n_fft - length) // 2
        padded = np.pad(shape, (left, self.n_fft - length - left))
        self.window: Floats = padded.astype(np.float32)
        """Weights of the samples of a frame, shape (n_fft,)."""
        self.filters = mel_filters(sample_rate, self.n_fft, n_mels)
        """Weights of the frequencies in each mel band, shape (bins, mel bands)."""
        self.left = (self.n_fft - self.hop) // 2
        """Samples of a window before its frame."""

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / self.sample_rate

    def energies(self, waveform: Waveform) -> Floats:
        """Computes the power in each mel band of every frame, shape (frames, mel bands).

        Args:
            waveform: The whole recording, shape (samples,).
        """
        right = self.n_fft - self.hop - self.left
        return self.energies_between(np.pad(waveform, (self.left, right)))

    def energies_between(self, samples: Waveform) -> Floats:
        """Computes mel energies of a segment, given samples with the margins of its windows.

        Args:
            samples: Segment with ``left`` samples before the first frame and ``n_fft - hop - left``
                after the last one.
        """
        num_frames = max(0, (len(samples) - self.n_fft + self.hop) // self.hop)
        energies = np.empty((num_frames, self.n_mels), np.float32)
        if num_frames:
            frames = sliding_window_view(samples, self.n_fft)[:: self.hop]
            for first in range(0, num_frames, _BLOCK):
                spectrum = scipy.fft.rfft(frames[first : first + _BLOCK] * self.window, axis=1)
                power = np.square(spectrum.real) + np.square(spectrum.imag)
                energies[first : first + _BLOCK] = power @ self.filters
        return energies

    def level(self, blocks: Callable[[], Iterable[Floats]]) -> Level:
        """Computes normalisation statistics from the mel energies of a recording, in blocks.

        Args:
            blocks: Returns an iterable of energies, shape (frames, mel bands) each; called twice.
        """
        loudest = max((float(block.max()) for block in blocks() if block.size), default=0.0)
        level = Level(loudest, np.zeros((1, 1), np.float32), 1.0)
        if self.normalization == "range":
            return self._range(list(blocks()), level)
        count = 0
        total = np.zeros(self.n_mels)
        squares = 0.0
        for block in blocks():
            log_mel = self.log_mel(block, loudest)
            active = log_mel[log_mel.max(axis=1, initial=-np.inf) > level.quiet]
            count += len(active)
            total += active.sum(axis=0, dtype=np.float64)
            squares += float(np.einsum("tm,tm->", active, active, dtype=np.float64))
        mean = total / max(count, 1)
        variance = squares / max(count, 1) - float(mean @ mean)
        scale = math.sqrt(max(variance, 0.0) / self.n_mels)
        return Level(loudest, mean[None].astype(np.float32), max(scale, 1e-3))

    def _range(self, blocks: list[Floats], level: Level) -> Level:
        """Waibel et al. 1989: a token is scaled to -1..1 with mean 0 over all coefficients."""
        log_mels = [self.log_mel(block, level.loudest) for block in blocks]
        size = sum(log_mel.size for log_mel in log_mels)
        mean = sum(float(log_mel.sum(dtype=np.float64)) for log_mel in log_mels) / max(size, 1)
        scale = max((float(np.abs(m - mean).max()) for m in log_mels if m.size), default=0.0)
        return Level(level.loudest, np.full((1, 1), mean, np.float32), max(scale, 1e-3))

    def log_mel(self, energies: Floats, loudest: float) -> Floats:
        """Logarithm of the floored energies, same shape."""
        floor = max(loudest * 10 ** (-DYNAMIC_RANGE_DB / 10), 1e-30)
        log_energies: Floats = np.log(np.maximum(energies, np.float32(floor)))
        return log_energies

    def normalize(self, energies: Floats, level: Level) -> Floats:
        """Normalises energies to features, shape (frames, mel bands)."""
        centred = self.log_mel(energies, level.loudest) - level.mean
        return centred / np.float32(level.scale)

    def __call__(self, waveform: Waveform) -> Floats:
        """Computes the features of a whole recording of shape (samples,)."""
        energies = self.energies(waveform)
        return self.normalize(energies, self.level(lambda: [energies]))


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> Floats:
    """Triangular filters on HTK's mel scale, shape (n_fft // 2 + 1, mel bands)."""
    bins = np.linspace(0, sample_rate // 2, n_fft // 2 + 1)
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, n_mels + 2) / 2595) - 1)
    width = np.diff(edges)
    distance = edges[None] - bins[:, None]  # (bins, n_mels + 2)
    rising, falling = -distance[:, :-2] / width[:-1], distance[:, 2:] / width[1:]
    filters: Floats = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return filters


def _log(value: float) -> float:
    return math.log(max(value, 1e-30))
