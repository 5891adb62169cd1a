"""Audio files in, waveforms out: mono float32 at the rate the model works at.

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
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from phoneme_moe.errors import InputError

Waveform = NDArray[np.float32]

# Below this there is no phoneme to be heard, and not one whole analysis window.
MIN_SECONDS = 0.05

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".aiff", ".aif", ".au", ".sph", ".w64"}
)


def load_waveform(path: str | Path, sample_rate: int, channel: int | None = None) -> Waveform:
    """Reads an audio file of any rate and channel count.

    The rate is converted (soxr, high quality).

    Args:
        path: WAV, FLAC, MP3, Ogg/Opus, AIFF, NIST SPHERE or what else libsndfile reads; ``-`` for
            such a file on standard input.
        sample_rate: Samples per second to convert to.
        channel: Which channel, from 1; the mean of all when left out.

    Returns:
        Waveform of shape (samples,).

    Raises:
        InputError: The file is missing, empty, not audio, truncated, holds NaN or infinity, is
            shorter than ``MIN_SECONDS``, or has no such channel.
    """
    return np.concatenate(list(waveform_blocks(path, sample_rate, channel, seconds=math.inf)))


def waveform_blocks(
    path: str | Path, sample_rate: int, channel: int | None = None, seconds: float = 60.0
) -> Iterator[Waveform]:
    """Reads an audio file in pieces, so that a long one takes no more memory than a short one.

    Args:
        path: As in ``load_waveform``.
        sample_rate: Samples per second to convert to.
        channel: As in ``load_waveform``.
        seconds: Length of a piece in the file.

    Yields:
        Waveforms of shape (samples,) that follow each other.

    Raises:
        InputError: As in ``load_waveform``; some of it can be known only at the end.
    """
    path = Path(path)
    with _opened(path) as file:
        announced, found_rate = file.frames, file.samplerate
        if channel is not None and channel > file.channels:
            raise InputError(f"{path}: no channel {channel}: the file has {file.channels}")
        promised = _promised_bytes(file.extra_info)
        convert = None
        if found_rate != sample_rate and math.isfinite(seconds):
            convert = soxr.ResampleStream(found_rate, sample_rate, 1, "float32", quality="HQ")
        size = -1 if math.isinf(seconds) else round(seconds * found_rate)
        total = 0
        while True:
            samples = _read(file, path, size)
            total += len(samples)
            last = size < 0 or len(samples) < size
            if not np.isfinite(samples).all():
                bad = int(np.sum(~np.isfinite(samples)))
                raise InputError(f"{path}: {bad} samples are NaN or infinite")
            if last:
                _check_length(path, total, announced, found_rate, promised)
            waveform = samples.mean(axis=1) if channel is None else samples[:, channel - 1]
            if convert is not None:
                yield convert.resample_chunk(np.ascontiguousarray(waveform), last)
            else:
                yield resample(waveform, found_rate, sample_rate)
            if last:
                return


def audio_seconds(path: str | Path) -> float:
    """Length of an audio file by its header, in seconds; of an MP3 an estimate.

    Raises:
        InputError: It is no audio that can be read.
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
            path.open("rb").close()  # says why a file cannot be opened; libsndfile does not
        file = soundfile.SoundFile(source)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (soundfile.LibsndfileError, TypeError) as error:
        # soundfile raises TypeError for headerless .raw, which needs a rate nobody told us.
        raise _not_audio(path) from error
    with file:
        yield file


@functools.cache
def _standard_input() -> bytes:
    """All of standard input, which can be read only once."""
    return sys.stdin.buffer.read()


def _not_audio(path: Path) -> InputError:
    return InputError(
        f"{path}: not audio that can be read; expected WAV, FLAC, MP3, Ogg/Opus, AIFF or SPHERE"
    )


def _read(file: soundfile.SoundFile, path: Path, frames: int) -> NDArray[np.float32]:
    try:
        samples: NDArray[np.float32] = file.read(frames, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise _not_audio(path) from error
    return samples


def _check_length(
    path: Path, total: int, announced: int, rate: int, promised: tuple[int, int] | None
) -> None:
    """The file is whole and not too short; counts are samples of each channel."""
    # libsndfile guesses the length of an MP3 and shortens a truncated WAV's header by itself.
    if total < announced and path.suffix.lower() != ".mp3":
        raise InputError(f"{path}: truncated: found {total} samples, its header says {announced}")
    if promised is not None:
        raise InputError(
            f"{path}: truncated: its header promises {promised[0]} bytes of samples, "
            f"found {promised[1]}"
        )
    if total / rate < MIN_SECONDS:
        raise InputError(
            f"{path}: too short: found {total / rate:.3f} s, expected at least {MIN_SECONDS} s"
        )


def _promised_bytes(extra_info: str) -> tuple[int, int] | None:
    """Bytes that a WAV header promises and those there are, where libsndfile mended the header."""
    mended = re.search(r"data : (\d+) \(should be (\d+)\)", extra_info)
    if mended is None:
        return None
    promised, found = int(mended[1]), int(mended[2])
    # A stream's header cannot know its length and says the most there can be.
    return None if promised >= 0x7FFFFF00 or promised <= found else (promised, found)


def resample(waveform: Waveform, found_rate: float, sample_rate: int) -> Waveform:
    """Converts the sampling rate; the same array where there is nothing to convert.

    Args:
        waveform: Shape (samples,).
        found_rate: Its samples per second.
        sample_rate: Samples per second wanted.
    """
    if found_rate == sample_rate:
        return waveform
    converted: Waveform = soxr.resample(waveform, found_rate, sample_rate, quality="HQ")
    return converted


def add_noise(
    waveform: Waveform, snr_db: float, name: str, seed: int, padding: int = 0
) -> Waveform:
    """Adds white Gaussian noise, the same for the same name and seed in any order.

    Args:
        waveform: Shape (samples,).
        snr_db: Mean power of the waveform over that of the noise, in decibels.
        name: Whose noise: the utterance's identifier.
        seed: Number of the noise set.
        padding: Samples of noise alone to put before and after.

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
