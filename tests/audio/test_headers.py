"""Headers of WAV and FLAC: what the file holds is decoded, whatever its header promises."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from wav_headers import DATA, RATE, REFUSED, SAME, WAVEFORM, wav

from phoneme_moe.audio.headers import PatchedFile
from phoneme_moe.audio.waveform import load_segment, load_waveform, read_info
from phoneme_moe.errors import InputError


@pytest.mark.parametrize("name", SAME)
def test_the_samples_are_those_of_the_file(name, tmp_path):
    # The suffix says nothing: the bytes decide.
    file = tmp_path / "recording.raw"
    file.write_bytes(SAME[name])
    assert np.array_equal(load_waveform(file, RATE), WAVEFORM)
    assert read_info(file).num_samples == len(WAVEFORM)
    assert np.array_equal(load_segment(file, RATE, 1000, 2000), WAVEFORM[1000:3000])


@pytest.mark.parametrize("name", REFUSED)
def test_other_headers_are_refused_in_one_line(name, tmp_path):
    content, words = REFUSED[name]
    file = tmp_path / "recording.wav"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_waveform(file, RATE)
    assert str(caught.value).startswith(f"{file}: {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAVEX", "PCM_16"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("CAF", "PCM_16"),
        ("NIST", "PCM_16"),
        ("AU", "PCM_16"),
    ],
)
def test_codings_without_loss(format, subtype, tmp_path):
    file = tmp_path / "a"
    soundfile.write(file, WAVEFORM, RATE, subtype, format=format)
    assert load_waveform(file, RATE) == pytest.approx(WAVEFORM, abs=1e-6)


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "PCM_U8"])
def test_codings_with_loss(subtype, tmp_path):
    file = tmp_path / "a"
    soundfile.write(file, WAVEFORM, RATE, subtype, format="WAV")
    decoded = load_waveform(file, RATE)[: len(WAVEFORM)]
    assert np.corrcoef(decoded, WAVEFORM)[0, 1] > 0.97


@given(
    st.binary(max_size=64),
    st.dictionaries(st.integers(0, 70), st.binary(min_size=1, max_size=8), max_size=3),
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), max_size=5),
)
def test_a_patched_file_is_the_file_with_other_bytes(content, patches, reads):
    expected = bytearray(content)
    for place, patch in patches.items():
        for offset, byte in enumerate(patch):
            if place + offset < len(expected):
                expected[place + offset] = byte
    file = PatchedFile(io.BytesIO(content), patches)
    for place, size in reads:
        file.seek(place)
        assert file.read(size) == bytes(expected[place : place + size])


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1e30, r"found an amplitude of 1e\+29, expected at most 4.29e\+09; the file is damaged"),
        (np.nan, r"8000 samples are NaN or infinite"),
        (np.inf, r"samples are NaN or infinite"),
    ],
)
def test_numbers_that_are_no_amplitudes(factor, words, tmp_path):
    # With a large one, the posteriors of its whole batch would not be numbers.
    file = tmp_path / "a.wav"
    soundfile.write(file, np.full(8000, 0.1) * factor, RATE, "FLOAT")
    with pytest.raises(InputError, match=words):
        load_waveform(file, RATE)


def test_integers_written_as_floats_are_amplitudes(tmp_path):
    file = tmp_path / "a.wav"
    soundfile.write(file, WAVEFORM * 2.0**31, RATE, "FLOAT")
    assert load_waveform(file, RATE) == pytest.approx(WAVEFORM * 2.0**31)


def test_an_empty_chunk_list_ends():
    """A header of 100,000 empty chunks is not followed for ever."""
    content = b"RIFF\xff\xff\xff\xffWAVE" + b"abcd\0\0\0\0" * 100_000 + wav()
    with pytest.raises(InputError, match="not readable"):
        load_segment(content, RATE, 0, len(DATA) // 2)
