"""What a file is, by its first bytes."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.audio.formats import HEAD_BYTES, Format, sniff

SNDFILE = {
    ("WAV", "PCM_16"): "WAV",
    ("WAVEX", "PCM_16"): "WAV",
    ("RF64", "PCM_16"): "WAV",
    ("W64", "PCM_16"): "W64",
    ("FLAC", "PCM_16"): "FLAC",
    ("OGG", "VORBIS"): "Ogg",
    ("OGG", "OPUS"): "Ogg",
    ("MP3", "MPEG_LAYER_III"): "MP3",
    ("AIFF", "PCM_16"): "AIFF",
    ("AU", "PCM_16"): "AU",
    ("NIST", "PCM_16"): "SPHERE",
    ("CAF", "PCM_16"): "CAF",
    ("VOC", "PCM_16"): "VOC",
}


@pytest.mark.parametrize(("written", "name"), SNDFILE.items(), ids=map(str, SNDFILE))
def test_what_libsndfile_writes(written, name):
    container, coding = written
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(4800), 48_000, coding, format=container)
    format = sniff(stream.getvalue()[:HEAD_BYTES])
    assert format is not None
    assert (format.name, format.by_sndfile) == (name, True)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"a text",
        "a text".encode("utf-16"),
        b"\x89PNG\r\n\x1a\n" + bytes(60),
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"\0\0\0\x18ftypheic" + bytes(60),
        b"%PDF-1.7",
        b"PK\x03\x04" + bytes(60),
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"#EXTM3U",
    ],
)
def test_other_files(head):
    assert sniff(head) is None


@given(st.binary(max_size=HEAD_BYTES))
def test_any_bytes_give_a_format_or_none(head):
    assert sniff(head) is None or isinstance(sniff(head), Format)


@given(st.integers(0, 200), st.sampled_from([b"RIFF\0\0\0\0WAVE", b"fLaC\0\0\0\x22abcdef"]))
def test_tags_before_the_file_are_skipped(size, start):
    format = sniff(b"ID3\x04\0\0\0\0" + bytes([size >> 7, size & 0x7F]) + bytes(size) + start)
    assert format is not None
    assert format.name in {"WAV", "FLAC"}
