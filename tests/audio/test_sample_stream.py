"""The format of what arrives on standard input."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from hypothesis import assume, given
from hypothesis import strategies as st

from phoneme_moe.audio.sample_stream import StreamFormat, read_format
from phoneme_moe.errors import InputError

SAMPLES = np.random.default_rng(4).uniform(-0.9, 0.9, (700, 6))


def arriving(content: bytes, size: int = 1 << 15) -> Callable[[], bytes]:
    """A stream of which so many bytes come at a time."""
    file = io.BytesIO(content)
    return lambda: file.read(size)


def wav(channels: int, subtype: str, rate: int = 22_050) -> bytes:
    file = io.BytesIO()
    # More than two channels make an extensible header.
    layout = "WAVEX" if channels > 2 else "WAV"
    soundfile.write(file, SAMPLES[:, :channels], rate, subtype, format=layout)
    return file.getvalue()


@pytest.mark.parametrize(("subtype", "samples"), [("PCM_16", "s16le"), ("FLOAT", "f32le")])
@pytest.mark.parametrize("channels", [1, 2, 6])
@given(size=st.integers(1, 3000))
def test_a_wav_tells_its_format(subtype: str, samples: str, channels: int, size: int) -> None:
    content = wav(channels, subtype)
    read = arriving(content, size)
    found, first = read_format(read, None, None, None)
    assert found == StreamFormat(22_050, samples, channels)
    rest = first + b"".join(iter(read, b""))
    dtype = "<i2" if samples == "s16le" else "<f4"
    values = np.frombuffer(rest, dtype).reshape(-1, channels)
    scale = 32768 if samples == "s16le" else 1
    np.testing.assert_allclose(values / scale, SAMPLES[:, :channels], atol=1 / 32768)


@given(content=st.binary(min_size=1), size=st.integers(1, 20))
def test_anything_else_is_raw_samples(content: bytes, size: int) -> None:
    assume(content[:4] not in {b"RIFF", b"fLaC", b"OggS"})
    read = arriving(content, size)
    found, first = read_format(read, 8000, None, 2)
    assert found == StreamFormat(8000, "s16le", 2)
    assert first + b"".join(iter(read, b"")) == content


def test_raw_samples_need_a_rate() -> None:
    with pytest.raises(InputError, match="rate: found none, and raw samples"):
        read_format(arriving(bytes(100)), None, None, None)
    read_format(arriving(b""), None, None, None)  # nothing has no rate to be wrong


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((8000, None, None), "rate: found 8000, but the WAV header on stdin has 22050"),
        ((None, "f32le", None), "sample_format: found f32le, but .* has s16le"),
        ((22_050, "s16le", 1), "channels: found 1, but .* has 2"),
    ],
)
def test_another_format_than_that_of_the_header_is_refused(
    arguments: tuple[int | None, str | None, int | None], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        read_format(arriving(wav(2, "PCM_16")), *arguments)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"fLaC" + bytes(100), "found FLAC, expected raw samples or WAV"),
        (b"OggS" + bytes(100), "found Ogg"),
        (wav(1, "PCM_24"), "found a WAV of 1 channels with 24 bits"),
        (wav(1, "PCM_16")[:30], "ends within its WAV header"),
        (wav(1, "PCM_16")[:12] + b"data" + bytes(40), "does not tell the format"),
        (wav(1, "PCM_16")[:12] + b"LIST" + struct.pack("<I", 1 << 30), "1,073,741,824 bytes"),
    ],
)
def test_what_cannot_be_listened_to_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(InputError, match=f"stdin: .*{problem}"):
        read_format(arriving(content), 8000, None, None)
