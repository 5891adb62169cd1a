"""Reading audio files as waveforms: mono float32 at the sample rate of the model.

Legend: a waveform is a NumPy array of shape (samples,), amplitude -1..1.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import ArrayLike, NDArray

from phoneme_moe.errors import InputError

Waveform = NDArray[np.float32]

# Shorter than a phoneme and than two analysis windows.
MIN_SECONDS = 0.05

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".aiff", ".aif", ".au", ".sph", ".w64"}
)


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
        if not np.isfinite(by_channel).all():
            raise InputError(f"{self.name}: samples are NaN or infinite")
        seconds = len(samples) / self.sample_rate
        if seconds < MIN_SECONDS:
            raise InputError(
                f"{self.name}: too short: found {seconds:.3f} s, expected at least {MIN_SECONDS} s"
            )
        mono = by_channel.mean(axis=1) if channel is None else by_channel[:, channel - 1]
        return resample(mono, self.sample_rate, sample_rate)


def load_waveform(
    path: str | Path | Samples, sample_rate: int, channel: int | None = None
) -> Waveform:
    """Reads an audio file with any sample rate and number of channels.

    The sample rate is converted (soxr, high quality).

    Args:
        path: WAV, FLAC, MP3, Ogg/Opus, AIFF, NIST SPHERE or another format of libsndfile; ``-``
            for standard input.
        sample_rate: Samples per second to convert to.
        channel: Channel number, from 1; the mean of all channels by default.

    Returns:
        Waveform of shape (samples,).

    Raises:
        InputError: The file is missing, empty, not audio, truncated, contains NaN or infinity, is
            shorter than ``MIN_SECONDS``, or does not have the channel.
    """
    if isinstance(path, Samples):
        return path.waveform(sample_rate, channel)
    return np.concatenate(list(waveform_blocks(path, sample_rate, channel, seconds=math.inf)))


def waveform_blocks(
    path: str | Path, sample_rate: int, channel: int | None = None, seconds: float = 60.0
) -> Iterator[Waveform]:
    """Reads an audio file in blocks, with memory independent of its length.

    Args:
        path: As in ``load_waveform``.
        sample_rate: Samples per second to convert to.
        channel: As in ``load_waveform``.
        seconds: Length of a block.

    Yields:
        Consecutive waveforms of shape (samples,).

    Raises:
        InputError: As in ``load_waveform``; truncation is detected only at the end.
    """
    path = Path(path)
    with _opened(path) as file:
        header_frames, file_rate = file.frames, file.samplerate
        if channel is not None and channel > file.channels:
            raise InputError(f"{path}: no channel {channel}: the file has {file.channels}")
        promised = _promised_bytes(file.extra_info)
        convert = None
        if file_rate != sample_rate and math.isfinite(seconds):
            convert = soxr.ResampleStream(file_rate, sample_rate, 1, "float32", quality="HQ")
        size = -1 if math.isinf(seconds) else round(seconds * file_rate)
        total = 0
        while True:
            samples = _read(file, path, size)
            total += len(samples)
            last = size < 0 or len(samples) < size
            if not np.isfinite(samples).all():
                bad = int(np.sum(~np.isfinite(samples)))
                raise InputError(f"{path}: {bad} samples are NaN or infinite")
            if last:
                _check_length(path, total, header_frames, file_rate, promised)
            waveform = samples.mean(axis=1) if channel is None else samples[:, channel - 1]
            if convert is not None:
                yield convert.resample_chunk(np.ascontiguousarray(waveform), last)
            else:
                yield resample(waveform, file_rate, sample_rate)
            if last:
                return


def audio_seconds(path: str | Path) -> float:
    """Duration of an audio file in seconds, from its header; an estimate for MP3.

    Raises:
        InputError: The file is not readable audio.
    """
    with _opened(Path(path)) as file:
        return float(file.frames / file.samplerate)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    source: Path | io.BytesIO = path
    if str(path) == "-":
        source = io.BytesIO(_standard_input())
        empty = not source.getbuffer().nbytes
    else:
        if not path.is_file():
            problem = "not a file" if path.exists() else "no such file"
            raise InputError(f"{path}: {problem}")
        empty = path.stat().st_size == 0
    if empty:
        raise InputError(f"{path}: the file is empty (0 bytes), expected audio")
    try:
        if isinstance(source, Path):
            path.open("rb").close()  # this error names the cause, unlike that of libsndfile
        file = soundfile.SoundFile(source)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (soundfile.LibsndfileError, TypeError) as error:
        # soundfile raises TypeError for headerless .raw, whose sample rate is unknown.
        raise _not_audio(path) from error
    with file:
        yield file


@functools.cache
def _standard_input() -> bytes:
    """Content of standard input, cached because it can be read only once."""
    return sys.stdin.buffer.read()


def _not_audio(path: Path) -> InputError:
    return InputError(
        f"{path}: not readable as audio; expected WAV, FLAC, MP3, Ogg/Opus, AIFF or SPHERE"
    )


def _read(file: soundfile.SoundFile, path: Path, frames: int) -> NDArray[np.float32]:
    try:
        samples: NDArray[np.float32] = file.read(frames, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise _not_audio(path) from error
    return samples


def _check_length(
    path: Path, total: int, header_frames: int, rate: int, promised: tuple[int, int] | None
) -> None:
    """Rejects truncated and too short files; lengths are in samples of each channel."""
    # libsndfile estimates the length of an MP3, and corrects the header of a truncated WAV.
    if total < header_frames and path.suffix.lower() != ".mp3":
        raise InputError(
            f"{path}: truncated: found {total} samples, but {header_frames} in its header"
        )
    if promised is not None:
        raise InputError(
            f"{path}: truncated: found {promised[1]} bytes of samples, "
            f"but {promised[0]} in its header"
        )
    if total / rate < MIN_SECONDS:
        raise InputError(
            f"{path}: too short: found {total / rate:.3f} s, expected at least {MIN_SECONDS} s"
        )


def _promised_bytes(extra_info: str) -> tuple[int, int] | None:
    """Bytes in the header of a WAV and actual bytes, if libsndfile corrected the header."""
    corrected = re.search(r"data : (\d+) \(should be (\d+)\)", extra_info)
    if corrected is None:
        return None
    promised, actual = int(corrected[1]), int(corrected[2])
    # The header of a stream has the maximum length.
    return None if promised >= 0x7FFFFF00 or promised <= actual else (promised, actual)


def resample(waveform: Waveform, from_rate: float, sample_rate: int) -> Waveform:
    """Converts the sample rate; returns the same array if there is nothing to do.

    Args:
        waveform: Shape (samples,).
        from_rate: Samples per second of the waveform.
        sample_rate: Samples per second of the result.
    """
    if from_rate == sample_rate:
        return waveform
    converted: Waveform = soxr.resample(waveform, from_rate, sample_rate, quality="HQ")
    return converted


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
