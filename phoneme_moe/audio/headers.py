"""Headers of WAV and FLAC that promise what the file does not hold, and their correction.

Recorders that cannot seek, or were killed, leave sizes of 0 or of the maximum; libsndfile then
finds no samples. Only bytes of the header are replaced, in a view of the file.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on

_UNKNOWN_SIZE = 0x7FFFEF00
"""Sizes from here on are those of streams, whose length is not known at the start (SoX:
0x7FFFF000, FFmpeg: 0xFFFFFFFF)."""

_UNKNOWN_LARGE_SIZE = 1 << 40
"""Likewise for 64-bit sizes of RF64: a terabyte."""

SAMPLE_RATES = range(1000, 768_001)
"""Sample rates of recordings; others are those of damaged headers."""

_MAX_CHUNKS = 1000
_SAMPLES_PER_BYTE = 65_535 // 10
"""The shortest FLAC frame has 10 bytes and up to 65,535 samples."""


@dataclass(frozen=True)
class Header:
    """What is wrong with a header.

    Attributes:
        patches: Bytes to replace, by offset.
        promised: Number of bytes of samples in the header of a WAV; None if it is not known.
        actual: Number of bytes of samples in the file.
        num_samples: Length of a FLAC in samples, if its header can be believed.
        sample_rate: Samples per second of a WAV.
    """

    patches: dict[int, bytes] = field(default_factory=dict)
    promised: int | None = None
    actual: int = 0
    num_samples: int | None = None
    sample_rate: int | None = None

    @property
    def is_truncated(self) -> bool:
        """Whether the file ends before the samples that its header promises."""
        return self.promised is not None and self.promised > self.actual


def check_sample_rate(name: str, rate: int) -> None:
    """Refuses a sample rate that no recording has.

    Args:
        name: Name of the file.
        rate: Samples per second.

    Raises:
        InputError: The rate is not in ``SAMPLE_RATES``.
    """
    if rate not in SAMPLE_RATES:
        raise InputError(
            f"{name}: found a sample rate of {rate} Hz, expected {SAMPLE_RATES[0]} to "
            f"{SAMPLE_RATES[-1]} Hz"
        )


def read_header(file: BinaryIO) -> Header:
    """Checks the header of a WAV or FLAC; any other file has an empty result."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(0)
    magic = file.read(12)
    if magic[:4] in (b"RIFF", b"RF64", b"BW64") and magic[8:] == b"WAVE":
        return _wav(file, magic[:4], size)
    if magic[:4] == b"fLaC":
        return _flac(file, size)
    return Header()


def _wav(file: BinaryIO, magic: bytes, size: int) -> Header:
    patches: dict[int, bytes] = {}
    if magic == b"BW64":  # the same layout (ITU-R BS.2088), which libsndfile does not know
        patches[0] = b"RF64"
    place, size_place = 12, 0
    size_of_data: int | None = None
    rate: int | None = None
    for _ in range(_MAX_CHUNKS):
        file.seek(place)
        chunk = file.read(8)
        if len(chunk) < 8:
            return Header(patches, sample_rate=rate)
        name, length = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        if name == b"ds64":
            size_place = place + 16
            size_of_data = struct.unpack("<Q", file.read(16)[8:].ljust(8, b"\0"))[0]
        if name == b"fmt " and len(body := file.read(16)) == 16:
            rate = struct.unpack("<I", body[4:8])[0]
        if name == b"data":
            break
        place += 8 + length + length % 2
    else:
        return Header(patches, sample_rate=rate)
    actual = max(0, size - place - 8)
    large = magic != b"RIFF" and size_of_data is not None and length == 0xFFFFFFFF
    promised = size_of_data if large and size_of_data is not None else length
    limit = _UNKNOWN_LARGE_SIZE if large else _UNKNOWN_SIZE
    if (promised == 0 or promised >= limit) and actual:
        if large:
            patches[size_place] = struct.pack("<Q", actual)
            patches[size_place - 8] = struct.pack("<Q", size - 8)
        else:
            patches[place + 4] = struct.pack("<I", min(actual, 0xFFFFFFFF))
        return Header(patches, None, actual, sample_rate=rate)
    return Header(patches, promised, actual, sample_rate=rate)


def _flac(file: BinaryIO, size: int) -> Header:
    file.seek(4)
    info = file.read(22)  # the header of the block, and STREAMINFO up to the number of samples
    if len(info) < 22 or info[0] & 0x7F != 0:
        return Header()
    num_samples = (info[17] & 0x0F) << 32 | int.from_bytes(info[18:22], "big")
    believed = 0 < num_samples <= size * _SAMPLES_PER_BYTE
    return Header(num_samples=num_samples if believed else None)


class PatchedFile(io.RawIOBase):
    """A view of a file with some bytes replaced."""

    def __init__(self, file: BinaryIO, patches: dict[int, bytes]) -> None:
        """Takes the file, which stays open."""
        self._file = file
        self._patches = patches

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can be positioned: yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Sets the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def readinto(self, buffer: Buffer) -> int:
        """Reads bytes, of which some are replaced."""
        target = memoryview(buffer).cast("B")
        start = self._file.tell()
        data = bytearray(self._file.read(len(target)))
        for place, patch in self._patches.items():
            first, last = max(place, start), min(place + len(patch), start + len(data))
            if first < last:
                data[first - start : last - start] = patch[first - place : last - place]
        target[: len(data)] = data
        return len(data)
