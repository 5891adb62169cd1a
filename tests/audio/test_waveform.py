from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from phoneme_moe.audio.waveform import add_noise, load_waveform, resample
from phoneme_moe.errors import InputError

RATE = 16_000


def tone(frequency: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def dominant_frequency(waveform: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * rate / len(waveform))


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_16", 1 / 32768),
        ("a.wav", "PCM_24", 1 / (1 << 23)),
        ("a.wav", "FLOAT", 0),
        ("a.flac", "PCM_16", 1 / 32768),
        ("a.flac", "PCM_24", 1 / (1 << 23)),
        ("a.aiff", "PCM_16", 1 / 32768),
        ("a.ogg", "VORBIS", 0.05),
        ("a.mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_what_was_written_is_read(
    tmp_path: Path, name: str, subtype: str, tolerance: float
) -> None:
    soundfile.write(tmp_path / name, tone(440), RATE, subtype=subtype)
    waveform = load_waveform(tmp_path / name, RATE)
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - len(tone(440))) <= (0 if name != "a.mp3" else 2304)
    assert dominant_frequency(waveform, RATE) == pytest.approx(440, abs=4)
    if name != "a.mp3":
        np.testing.assert_allclose(waveform, tone(440), atol=tolerance, rtol=0)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(300), tone(900)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    waveform = load_waveform(tmp_path / "s.wav", RATE)
    np.testing.assert_allclose(waveform, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_another_rate_keeps_length_and_pitch(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "r.wav", tone(1000, 0.5, rate), rate, subtype="FLOAT")
    waveform = load_waveform(tmp_path / "r.wav", RATE)
    assert abs(len(waveform) - 0.5 * RATE) <= 1
    assert dominant_frequency(waveform, RATE) == pytest.approx(1000, abs=3)
    inside = slice(800, -800)
    np.testing.assert_allclose(waveform[inside], tone(1000)[: len(waveform)][inside], atol=2e-3)


def test_resampling_leaves_out_what_the_new_rate_cannot_carry() -> None:
    lowered = resample(tone(7_000), RATE, 8_000)
    assert np.abs(lowered[400:-400]).max() < 1e-3


def test_the_same_rate_is_not_touched() -> None:
    waveform = tone(440)
    assert resample(waveform, RATE, RATE) is waveform


def wav_bytes(samples: np.ndarray, announced: int | None = None) -> bytes:
    """16 bit mono WAV whose header may say more than there is."""
    data = (samples * 32767).astype("<i2").tobytes()
    size = len(data) if announced is None else 2 * announced
    header = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16)
        + header + b"data" + struct.pack("<I", size) + data
    )  # fmt: skip


def bad_float(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        samples = tone(440)
        samples[100] = value
        soundfile.write(path, samples, RATE, subtype="FLOAT")

    return write


def truncated_flac(path: Path) -> None:
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, RATE), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "missing.wav": lambda path: None,
    "empty.wav": lambda path: path.write_bytes(b""),
    "text.wav": lambda path: path.write_text("This is not audio.\nNot at all.\n"),
    "header_only.wav": lambda path: path.write_bytes(wav_bytes(np.zeros(0))),
    "half_a_header.wav": lambda path: path.write_bytes(wav_bytes(tone(440))[:20]),
    "nan.wav": bad_float(np.nan),
    "infinite.wav": bad_float(np.inf),
    "samples.raw": lambda path: path.write_bytes((tone(440) * 32767).astype("<i2").tobytes()),
    "short.wav": lambda path: soundfile.write(path, tone(440, 0.02), RATE),
    "truncated.flac": truncated_flac,
    "folder.wav": lambda path: path.mkdir(),
    "random.mp3": lambda path: path.write_bytes(np.random.default_rng(0).bytes(3000)),
    "random.flac": lambda path: path.write_bytes(b"fLaC" + np.random.default_rng(0).bytes(3000)),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_cannot_be_used_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    BAD_FILES[name](path)
    with pytest.raises(InputError) as caught:
        load_waveform(path, RATE)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    assert len(message) > len(f"{path}: ") + 5


def test_a_wav_cut_short_by_a_broken_copy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "truncated.wav"
    path.write_bytes(wav_bytes(tone(440), announced=3 * len(tone(440))))
    with pytest.raises(InputError, match="truncated"):
        load_waveform(path, RATE)


@given(data=st.binary(max_size=200))
@settings(max_examples=50)
def test_no_bytes_raise_anything_but_an_input_error(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.wav"
    path.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt " + data)
    with pytest.raises(InputError, match=r"any\.wav"):
        load_waveform(path, RATE)


def noise_of(waveform: np.ndarray, snr_db: float, name: str = "u", seed: int = 0) -> np.ndarray:
    return add_noise(waveform, snr_db, name, seed) - waveform


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 30.0])
def test_noise_has_the_wanted_power(snr_db: float) -> None:
    speech = tone(440, 2.0) * np.linspace(0, 1, 2 * RATE, dtype=np.float32)
    noise = noise_of(speech, snr_db)
    measured = 10 * np.log10(np.mean(speech**2) / np.mean(noise**2))
    assert measured == pytest.approx(snr_db, abs=0.5)
    # White: successive samples are uncorrelated.
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.03


def test_noise_follows_from_name_and_seed_alone() -> None:
    speech = tone(440)
    noise = noise_of(speech, 10)
    noise_of(speech, 10, "another")
    assert np.array_equal(noise_of(speech, 10), noise)
    for other in (noise_of(speech, 10, "another"), noise_of(speech, 10, seed=1)):
        assert abs(np.corrcoef(noise, other)[0, 1]) < 0.05


def test_noise_goes_on_before_and_after_the_speech_at_the_same_level() -> None:
    speech = tone(440)
    noisy = add_noise(speech, 10, "u", 0, padding=5_000)
    assert noisy.dtype == np.float32
    assert len(noisy) == len(speech) + 10_000
    level = np.std(noisy[5_000:-5_000] - speech)
    assert np.std(noisy[:5_000]) == pytest.approx(level, rel=0.1)
    assert np.std(noisy[-5_000:]) == pytest.approx(level, rel=0.1)


def test_noise_on_silence_is_silence() -> None:
    assert not add_noise(np.zeros(1000, np.float32), 10, "u", 0).any()
