"""Audio files in, waveforms out: mono float32 at the rate the model works at.

Legend: a waveform is a NumPy array of shape (samples,), amplitude -1..1.
"""

from __future__ import annotations

import hashlib
import re
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


def load_waveform(path: str | Path, sample_rate: int) -> Waveform:
    """Reads an audio file of any rate and channel count.

    Channels are averaged and the rate is converted (soxr, high quality).

    Args:
        path: WAV, FLAC, MP3, Ogg/Opus, AIFF, NIST SPHERE or what else libsndfile reads.
        sample_rate: Samples per second to convert to.

    Returns:
        Waveform of shape (samples,).

    Raises:
        InputError: The file is missing, empty, not audio, truncated, holds NaN or infinity, or is
            shorter than ``MIN_SECONDS``.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes), expected audio")
    try:
        with soundfile.SoundFile(path) as file:
            announced, found_rate = file.frames, file.samplerate
            samples = file.read(dtype="float32", always_2d=True)
            promised = _promised_bytes(file.extra_info)
    except (soundfile.LibsndfileError, TypeError) as error:
        # soundfile raises TypeError for headerless .raw, which needs a rate nobody told us.
        raise InputError(
            f"{path}: not audio that can be read; expected WAV, FLAC, MP3, Ogg/Opus, AIFF or SPHERE"
        ) from error
    # libsndfile guesses the length of an MP3 and shortens a truncated WAV's header by itself.
    if len(samples) < announced and path.suffix.lower() != ".mp3":
        raise InputError(
            f"{path}: truncated: found {len(samples)} samples, its header says {announced}"
        )
    if promised is not None:
        raise InputError(
            f"{path}: truncated: its header promises {promised[0]} bytes of samples, "
            f"found {promised[1]}"
        )
    if not np.isfinite(samples).all():
        raise InputError(f"{path}: {np.sum(~np.isfinite(samples))} samples are NaN or infinite")
    seconds = len(samples) / found_rate
    if seconds < MIN_SECONDS:
        raise InputError(
            f"{path}: too short: found {seconds:.3f} s, expected at least {MIN_SECONDS} s"
        )
    waveform = samples.mean(axis=1)
    return resample(waveform, found_rate, sample_rate)


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
