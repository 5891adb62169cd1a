"""Decoding of one file: from its bytes to blocks of a mono waveform at the model's sample rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from phoneme_moe.audio.mixing import Mixer, OffsetRemoval
from phoneme_moe.audio.opening import Stream, Waveform, opened
from phoneme_moe.errors import InputError

MIN_SECONDS = 0.05
"""Shorter than a phoneme and than two analysis windows."""

MAX_AMPLITUDE = 2.0**32
"""Largest amplitude: samples should be within -1..1, but some programs write integers as floats."""

_BLOCK_VALUES = 1 << 20
"""Number of values in a block of all channels."""

_MAX_WHOLE = 1 << 26
"""Most samples that are resampled at once."""


@dataclass(frozen=True)
class Request:
    """What is to be decoded.

    Attributes:
        name: Name of the file, for messages.
        path: The file; None if its content is given.
        sample_rate: Samples per second to convert to.
        channel: Channel to take, from 1; None to mix all channels.
        whole_seconds: Recordings up to this length are resampled at once and are a single block.
        start: First sample to take, at the file's rate.
        num_samples: Number of samples to take, at the file's rate; None for all.
        file_rate: Samples per second that the file must have; None for any.
    """

    name: str
    path: str | None = None
    sample_rate: int = 16_000
    channel: int | None = None
    whole_seconds: float = math.inf
    start: int = 0
    num_samples: int | None = None
    file_rate: int | None = None


@dataclass(frozen=True)
class AudioInfo:
    """An audio file.

    Attributes:
        format: Name of the format, such as WAV.
        sample_rate: Samples per second.
        num_channels: Number of channels.
        num_samples: Length in samples; counted by decoding where the header cannot be believed.
    """

    format: str
    sample_rate: int
    num_channels: int
    num_samples: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_samples / self.sample_rate


def probe(name: str, path: str | None, content: bytes | None = None) -> AudioInfo:
    """Describes an audio file.

    Args:
        name: Name of the file, for messages.
        path: The file; None if its content is given.
        content: Its content, in place of a path.

    Raises:
        InputError: The file is missing, empty, not audio or damaged, or its sample rate is absurd.
    """
    with opened(name, path, content) as stream:
        num_samples = stream.num_samples
        if not num_samples:
            num_samples = 0
            while samples := len(stream.read(_block_samples(stream))):
                num_samples += samples
        return AudioInfo(stream.format, stream.sample_rate, stream.num_channels, num_samples)


def decode(
    request: Request, note: Callable[[str], None], content: bytes | None = None
) -> Iterator[Waveform]:
    """Decodes a file.

    Args:
        request: What is to be decoded.
        note: Called with a line about the file, if it is not used as it stands.
        content: Content of the file, in place of a path.

    Yields:
        Consecutive waveforms of shape (samples,), amplitude -1..1; memory does not depend on the
        length of the file if ``whole_seconds`` is finite.

    Raises:
        InputError: The file is missing, empty, not audio, truncated, damaged, contains NaN or
            infinity, is shorter than ``MIN_SECONDS``, lacks the channel, or has an absurd sample
            rate; truncation is detected only at the end.
    """
    with opened(request.name, request.path, content) as stream:
        if request.channel is not None and request.channel > stream.num_channels:
            raise InputError(
                f"{request.name}: no channel {request.channel}: the file has {stream.num_channels}"
            )
        if request.file_rate not in (None, stream.sample_rate):
            raise InputError(
                f"{request.name}: found {stream.sample_rate} Hz, expected {request.file_rate} Hz"
            )
        yield from _resampled(_mono(stream, request, note), stream.sample_rate, request)


def _mono(stream: Stream, request: Request, note: Callable[[str], None]) -> Iterator[Waveform]:
    """Blocks of one channel at the rate of the file."""
    mix, remove_offset = Mixer(stream.num_channels, request.channel), OffsetRemoval()
    size = _block_samples(stream)
    wanted = request.num_samples
    stream.skip(request.start)
    total, noted = 0, False
    while wanted is None or total < wanted:
        block = stream.read(size if wanted is None else min(size, wanted - total))
        if not len(block):
            break
        total += len(block)
        check_amplitudes(request.name, block)
        mono = remove_offset(mix(block))
        if mix.note and not noted:
            noted = True
            note(f"{request.name}: {mix.note}")
        yield mono
    if wanted is None:
        stream.check_length(total)
    elif total < wanted:
        raise InputError(
            f"{request.name}: truncated: found {request.start + total} samples, expected "
            f"{request.start + wanted}"
        )
    seconds = total / stream.sample_rate
    if seconds < MIN_SECONDS and wanted is None:
        raise InputError(
            f"{request.name}: too short: found {seconds:.3f} s, expected at least {MIN_SECONDS} s"
        )


def check_amplitudes(name: str, samples: Waveform) -> None:
    """Refuses numbers that are no amplitudes.

    Args:
        name: Name of the file, for messages.
        samples: Any shape.

    Raises:
        InputError: Samples are NaN, infinite or beyond ``MAX_AMPLITUDE``.
    """
    if not np.isfinite(samples).all():
        bad = int(np.sum(~np.isfinite(samples)))
        raise InputError(f"{name}: {bad} samples are NaN or infinite")
    largest = float(np.abs(samples).max(initial=0.0))
    if largest > MAX_AMPLITUDE:
        raise InputError(
            f"{name}: found an amplitude of {largest:.3g}, expected at most {MAX_AMPLITUDE:.3g}; "
            "the file is damaged"
        )


def _resampled(blocks: Iterator[Waveform], rate: int, request: Request) -> Iterator[Waveform]:
    """A short recording at once, a long one as a stream."""
    limit = min(request.whole_seconds * rate, _MAX_WHOLE)
    waiting, num_waiting = [], 0
    for block in blocks:
        waiting.append(block)
        num_waiting += len(block)
        if num_waiting > limit:
            break
    else:
        whole = np.concatenate(waiting) if waiting else np.empty(0, np.float32)
        yield resample(whole, rate, request.sample_rate)
        return
    if rate == request.sample_rate:
        yield from waiting
        yield from blocks
        return
    convert = soxr.ResampleStream(rate, request.sample_rate, 1, "float32", quality="HQ")
    while waiting:
        yield convert.resample_chunk(np.ascontiguousarray(waiting.pop(0)))
    for block in blocks:
        yield convert.resample_chunk(np.ascontiguousarray(block))
    yield convert.resample_chunk(np.empty(0, np.float32), last=True)


def resample(waveform: Waveform, from_rate: float, sample_rate: float) -> Waveform:
    """Converts the sample rate (soxr, high quality); returns the same array if it is the same.

    Args:
        waveform: Shape (samples,).
        from_rate: Samples per second of the waveform.
        sample_rate: Samples per second of the result.
    """
    if from_rate == sample_rate:
        return waveform
    converted: Waveform = soxr.resample(waveform, from_rate, sample_rate, quality="HQ")
    return converted


def _block_samples(stream: Stream) -> int:
    return max(1, _BLOCK_VALUES // stream.num_channels)
