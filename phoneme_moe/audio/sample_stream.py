"""The format of samples that arrive on standard input: raw, or as a WAV that is being recorded."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from phoneme_moe.audio.headers import check_sample_rate
from phoneme_moe.errors import ArgumentError, InputError

SampleFormat = Literal["s16le", "f32le"]

Read = Callable[[], bytes]
"""Gives the bytes that have arrived, at least one; none at the end."""

_WAV_FORMATS: dict[tuple[int, int], SampleFormat] = {(1, 16): "s16le", (3, 32): "f32le"}
"""By the tag of the format and the bits of a sample."""

_EXTENSIBLE = 0xFFFE
_MAX_CHUNK = 1 << 20
_FILES = {b"fLaC": "FLAC", b"OggS": "Ogg"}


@dataclass(frozen=True)
class StreamFormat:
    """Format of a stream of samples.

    Attributes:
        rate: Samples per second.
        samples: Signed integers of 16 bits or floats of 32, little-endian.
        channels: Number of channels, interleaved.
    """

    rate: int
    samples: SampleFormat
    channels: int


def read_format(
    read: Read, rate: int | None, samples: SampleFormat | None, channels: int | None
) -> tuple[StreamFormat, bytes]:
    """Finds out the format of a stream: what its WAV header says, or else what the user says.

    Args:
        read: Reads from the stream.
        rate: Samples per second, if given; raw samples need it.
        samples: Sample format, if given; s16le by default.
        channels: Number of channels, if given; 1 by default.

    Returns:
        The format, and the first bytes of samples.

    Raises:
        ArgumentError: Raw samples without a rate, or another format than that of the header.
        InputError: The stream is a file of another kind, or its header is damaged.
    """
    head = _Head(read)
    start = head.peek(12)
    if start[:4] in _FILES:
        raise InputError(
            f"stdin: found {_FILES[start[:4]]}, expected raw samples or WAV; use transcribe for "
            "files"
        )
    if start[:4] == b"RIFF" and start[8:] == b"WAVE":
        found = _wav_format(head)
        given = {"rate": rate, "sample_format": samples, "channels": channels}
        expected = (found.rate, found.samples, found.channels)
        for (argument, value), header in zip(given.items(), expected, strict=True):
            if value is not None and value != header:
                raise ArgumentError(
                    argument, f"found {value}, but the WAV header on stdin has {header}"
                )
        return found, head.rest
    if rate is None and start:
        raise ArgumentError(
            "rate", "found none, and raw samples do not tell it; expected rate=N, or WAV on stdin"
        )
    return StreamFormat(rate or 0, samples or "s16le", channels or 1), head.rest


class _Head:
    """The first bytes of a stream."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.rest = b""

    def peek(self, number: int) -> bytes:
        """The next bytes, fewer at the end."""
        while len(self.rest) < number and (data := self.read()):
            self.rest += data
        return self.rest[:number]

    def take(self, number: int) -> bytes:
        """The next bytes, which are then consumed."""
        taken = self.peek(number)
        if len(taken) < number:
            raise InputError("stdin: ends within its WAV header")
        self.rest = self.rest[number:]
        return taken


def _wav_format(head: _Head) -> StreamFormat:
    head.take(12)
    found: StreamFormat | None = None
    while True:
        name, size = struct.unpack("<4sI", head.take(8))
        if name == b"data":
            if found is None:
                raise InputError("stdin: the WAV header does not tell the format of its samples")
            return found
        if size > _MAX_CHUNK:
            raise InputError(f"stdin: found {size:,} bytes before the samples of a WAV")
        body = head.take(size + size % 2)
        if name == b"fmt " and size >= 16:
            tag, channels, rate = struct.unpack("<HHI", body[:8])
            bits = struct.unpack("<H", body[14:16])[0]
            if tag == _EXTENSIBLE and size >= 26:
                tag = struct.unpack("<H", body[24:26])[0]
            if (tag, bits) not in _WAV_FORMATS or not channels:
                raise InputError(
                    f"stdin: found a WAV of {channels} channels with {bits} bits (format {tag}), "
                    "expected 16-bit integers or 32-bit floats"
                )
            check_sample_rate("stdin", rate)
            found = StreamFormat(rate, _WAV_FORMATS[tag, bits], channels)
