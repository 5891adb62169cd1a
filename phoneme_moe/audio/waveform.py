"""Reading audio files as waveforms: mono float32 at the sample rate of the model.

Legend: a waveform is a NumPy array of shape (samples,), amplitude -1..1.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from phoneme_moe.audio import AudioWarning
from phoneme_moe.audio.decode import (
    MIN_SECONDS,
    AudioInfo,
    Request,
    check_amplitudes,
    resample,
)
from phoneme_moe.audio.formats import AUDIO_SUFFIXES
from phoneme_moe.audio.mixing import Mixer, OffsetRemoval
from phoneme_moe.audio.opening import Waveform
from phoneme_moe.audio.standard_input import standard_input
from phoneme_moe.audio.worker_pool import audio_info, decode_blocks
from phoneme_moe.errors import InputError

__all__ = [
    "AUDIO_SUFFIXES",
    "MIN_SECONDS",
    "Samples",
    "Waveform",
    "add_noise",
    "is_silent",
    "load_segment",
    "load_waveform",
    "read_info",
    "resample",
    "waveform_blocks",
]

SILENT_PEAK = 2 / 32768
"""Peak of a recording without sound: that of the dither of 16 bits."""

STREAMED_SECONDS = 600.0
"""Longer recordings are resampled as a stream, which takes less memory."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Audio in memory, which can be used in place of a file.

    Attributes:
        samples: Amplitudes -1..1, shape (samples,) or (samples, channels); an array or a tensor.
        sample_rate: Samples per second.
        name: Name in results and messages, in place of a path.
    """

    samples: ArrayLike
    sample_rate: int
    name: str = "array"

    def waveform(self, sample_rate: int, channel: int | None = None) -> Waveform:
        """Converts to a waveform, shape (samples,); arguments as in ``load_waveform``.

        Raises:
            InputError: The samples have a wrong shape, contain NaN or infinity, are shorter than
                ``MIN_SECONDS``, or do not have the channel.
        """
        samples = np.asarray(self.samples, np.float32)
        if samples.ndim not in (1, 2):
            raise InputError(
                f"{self.name}: found shape {samples.shape}, expected (samples,) or "
                "(samples, channels)"
            )
        by_channel = samples.reshape(len(samples), -1)
        if channel is not None and channel > by_channel.shape[1]:
            raise InputError(f"{self.name}: no channel {channel}: it has {by_channel.shape[1]}")
        check_amplitudes(self.name, by_channel)
        seconds = len(samples) / self.sample_rate
        if seconds < MIN_SECONDS:
            raise InputError(
                f"{self.name}: too short: found {seconds:.3f} s, expected at least {MIN_SECONDS} s"
            )
        mix = Mixer(by_channel.shape[1], channel)
        mono = OffsetRemoval()(mix(by_channel))
        if mix.note:
            warnings.warn(f"{self.name}: {mix.note}", AudioWarning, stacklevel=2)
        return resample(mono, self.sample_rate, sample_rate)


def load_waveform(
    path: str | Path | Samples, sample_rate: int, channel: int | None = None
) -> Waveform:
    """Reads an audio file with any sample rate and number of channels.

    The sample rate is converted (soxr, high quality), and a constant offset (DC) is removed.

    Args:
        path: WAV, FLAC, MP3, Ogg/Opus, AIFF, NIST SPHERE or another format of libsndfile; a format
            of FFmpeg (M4A, MP4, WebM, AMR, WMA ...) with the extra ``media`` or a program
            ``ffmpeg``; ``-`` for standard input.
        sample_rate: Samples per second to convert to.
        channel: Channel number, from 1; by default the channels are mixed (``mixing.Mixer``).

    Returns:
        Waveform of shape (samples,).

    Raises:
        InputError: The file is missing, empty, not audio, truncated, damaged, contains NaN or
            infinity, is shorter than ``MIN_SECONDS``, does not have the channel, or has an absurd
            sample rate.
    """
    if isinstance(path, Samples):
        return path.waveform(sample_rate, channel)
    blocks = list(waveform_blocks(path, sample_rate, channel, STREAMED_SECONDS))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def waveform_blocks(
    path: str | Path | bytes,
    sample_rate: int,
    channel: int | None = None,
    whole_seconds: float = 60.0,
    name: str = "",
) -> Iterator[Waveform]:
    """Reads an audio file in blocks, with memory independent of its length.

    Args:
        path: As in ``load_waveform``, or the content of a file.
        sample_rate: Samples per second to convert to.
        channel: As in ``load_waveform``.
        whole_seconds: A file up to this length is a single block.
        name: Name for messages, if the content is given.

    Yields:
        Consecutive waveforms of shape (samples,).

    Raises:
        InputError: As in ``load_waveform``; truncation is detected only at the end.
    """
    name, file, content = _source(path, name)
    return decode_blocks(Request(name, file, sample_rate, channel, whole_seconds), content)


def load_segment(
    path: str | Path | bytes,
    sample_rate: int,
    start: int,
    num_samples: int,
    channel: int | None = None,
    name: str = "",
    file_rate: int | None = None,
) -> Waveform:
    """Reads a segment of an audio file.

    Args:
        path: The file, or its content.
        sample_rate: Samples per second to convert to.
        start: First sample, at the rate of the file.
        num_samples: Number of samples, at the rate of the file.
        channel: As in ``load_waveform``.
        name: Name for messages, if the content is given.
        file_rate: Samples per second that the file must have; any by default.

    Returns:
        Waveform of shape (samples,).

    Raises:
        InputError: As in ``load_waveform``, the file ends before the segment does, or it
            has another sample rate than ``file_rate``.
    """
    name, file, content = _source(path, name)
    request = Request(name, file, sample_rate, channel, math.inf, start, num_samples, file_rate)
    return np.concatenate(list(decode_blocks(request, content)))


def read_info(path: str | Path | bytes) -> AudioInfo:
    """Format, sample rate, channels and length of an audio file.

    The length is that of the header if it can be believed, else the file is decoded to its end.

    Raises:
        InputError: The file is not readable audio.
    """
    return audio_info(*_source(path))


def is_silent(waveform: Waveform) -> bool:
    """Whether a waveform of shape (samples,) has no more sound than the dither of 16 bits."""
    return float(np.abs(waveform).max(initial=0.0)) <= SILENT_PEAK


def _source(path: str | Path | bytes, name: str = "") -> tuple[str, str | None, bytes | None]:
    """Name for messages, absolute path or None, content or None."""
    if isinstance(path, bytes):
        return name or "audio in memory", None, path
    # Absolute, since the worker may have started in another folder.
    file = standard_input() if str(path) == "-" else str(Path(path).absolute())
    return str(path), file, None


def change_sound_speed(waveform: Waveform, speed: float) -> Waveform:
    """Plays a recording faster or slower, with its pitch and formants (Ko et al. 2015).

    Args:
        waveform: Shape (samples,).
        speed: Number of times as fast.

    Returns:
        Shape (samples / speed,).
    """
    return resample(waveform, speed, 1.0)


def add_noise(
    waveform: Waveform, snr_db: float, name: str, seed: int, padding: int = 0
) -> Waveform:
    """Adds white Gaussian noise, reproducibly for a name and seed.

    Args:
        waveform: Shape (samples,).
        snr_db: Signal-to-noise ratio in decibels.
        name: Identifier of the utterance, part of the random seed.
        seed: Random seed.
        padding: Samples of pure noise to add before and after.

    Returns:
        Noisy waveform of shape (padding + samples + padding,).
    """
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    generator = np.random.default_rng(int.from_bytes(digest, "little"))
    amplitude = np.sqrt(np.mean(np.square(waveform)) * 10 ** (-snr_db / 10))
    padded = np.pad(waveform, padding)
    noise = generator.standard_normal(len(padded), dtype=np.float32)
    noisy: Waveform = (padded + amplitude * noise).astype(np.float32)
    return noisy
