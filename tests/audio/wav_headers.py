"""WAV and FLAC files whose headers are as recorders, editors and broken copies leave them."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

RATE = 16_000
SAMPLES = (0.1 * 32767 * np.sin(2 * np.pi * 440 * np.arange(8000) / RATE)).astype("<i2")
WAVEFORM = SAMPLES.astype(np.float32) / 32768
DATA = SAMPLES.tobytes()


def fmt(tag: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16) -> bytes:
    bytes_per_second = (rate * channels * bits // 8) & 0xFFFFFFFF
    body = struct.pack("<HHIIHH", tag, channels, rate, bytes_per_second, channels * bits // 8, bits)
    return chunk(b"fmt ", body)


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body


def wav(
    size: int | None = None,
    riff: int | None = None,
    head: bytes = b"",
    tail: bytes = b"",
    form: bytes | None = None,
    data: bytes = DATA,
) -> bytes:
    body = b"WAVE" + head + (form or fmt()) + chunk(b"data", data, size) + tail
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def rf64(magic: bytes = b"RF64", size: int | None = None) -> bytes:
    size = len(DATA) if size is None else size
    frames = min(size // 2, 2**63)
    ds64 = chunk(b"ds64", struct.pack("<QQQI", size, size, frames, 0))
    body = b"WAVE" + ds64 + fmt() + chunk(b"data", DATA, 0xFFFFFFFF)
    return magic + b"\xff" * 4 + body


def flac(num_samples: int | None = None) -> bytes:
    """A FLAC with another number of samples in its header."""
    stream = io.BytesIO()
    soundfile.write(stream, SAMPLES, RATE, format="FLAC")
    content = bytearray(stream.getvalue())
    if num_samples is not None:
        content[21] = content[21] & 0xF0 | num_samples >> 32
        content[22:26] = struct.pack(">I", num_samples & 0xFFFFFFFF)
    return bytes(content)


SAME = {
    "a plain header": wav(),
    "sizes of 0": wav(size=0, riff=0),
    "a size of 0": wav(size=0),
    "a RIFF size of 0": wav(riff=0),
    "sizes of FFFFFFFF": wav(size=0xFFFFFFFF, riff=0xFFFFFFFF),
    "a size of 7FFFFFFF": wav(size=0x7FFFFFFF, riff=0x7FFFFFFF),
    "the sizes of SoX in a pipe": wav(size=0x7FFFF000, riff=0x7FFFF024),
    "a size of 80000000": wav(size=0x80000000),
    "JUNK before": wav(head=chunk(b"JUNK", bytes(28))),
    "FLLR before the samples": wav(form=fmt() + chunk(b"FLLR", bytes(4044))),
    "id3 before": wav(head=chunk(b"id3 ", bytes(40))),
    "id3 after": wav(tail=chunk(b"id3 ", bytes(40))),
    "bext before": wav(head=chunk(b"bext", bytes(602))),
    "ID3 before RIFF": b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + wav(),
    "zeros after": wav(tail=bytes(9999)),
    "RF64": rf64(),
    "BW64": rf64(b"BW64"),
    "RF64 with sizes of 0": rf64(size=0),
    "RF64 with sizes of -1": rf64(size=2**64 - 1),
    "RF64 of a terabyte": rf64(size=2**40),
    "FLAC": flac(),
    "FLAC of 0 samples": flac(0),
    "FLAC of 2^36 samples": flac(2**36 - 1),
}
"""Files that all hold ``SAMPLES``."""

REFUSED = {
    "100 Hz": (
        wav(form=fmt(rate=100)),
        "found a sample rate of 100 Hz, expected 1000 to 768000 ",
    ),
    "0 Hz": (wav(form=fmt(rate=0)), "found a sample rate of 0 Hz"),
    "2^31 Hz": (wav(form=fmt(rate=2**31)), "found a sample rate of 2147483648 Hz"),
    "no channels": (wav(form=fmt(channels=0)), "not readable as WAV"),
    "no bits": (wav(form=fmt(bits=0)), "not readable as WAV"),
    "half of the samples": (wav()[:-8000], "truncated: found 8000 bytes of samples, but 16000"),
    "half a FLAC": (flac(9000), "truncated: found 8000 samples, but 9000 in its header"),
    "no samples": (wav(size=0, data=b""), "too short: found 0.000 s"),
    "20 ms": (wav(data=DATA[:640]), "too short: found 0.020 s, expected at least 0.05 s"),
}
