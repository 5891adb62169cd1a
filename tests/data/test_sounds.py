"""Sounds are decoded once, and again after any change of what they are made from."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import MonoCut, Recording

import phoneme_moe.corpora.cut_audio as cut_audio
from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.corpora.cut_audio import cut_origin, load_cut
from phoneme_moe.data.sounds import FILE, Origin, Sound, SoundIndex
from phoneme_moe.features.feature_store import sound_key

RATE = 16_000


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of tests are never older than a second or two."""
    monkeypatch.setattr(cut_audio, "SETTLED_SECONDS", -1.0)


class Decoder:
    """Decodes by a seed and counts."""

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def sound(self, seed: int, origin: Origin | None) -> Sound:
        def decode() -> Waveform:
            self.decoded.append(seed)
            return np.random.default_rng(seed).standard_normal(50).astype(np.float32)

        return Sound(decode, origin)


def keys(folder: Path, *sounds: Sound) -> list[str]:
    return SoundIndex(folder).keys(sounds)


def test_a_sound_is_decoded_once(tmp_path: Path) -> None:
    decoder = Decoder()
    first = keys(tmp_path, decoder.sound(1, ("a", 1)), decoder.sound(2, ("b", 1)))
    again = keys(tmp_path, decoder.sound(1, ("a", 1)), decoder.sound(3, ("c", 1)))
    assert decoder.decoded == [1, 2, 3]
    assert again[0] == first[0]
    assert keys(tmp_path, decoder.sound(2, ("b", 1)))[0] == first[1]
    assert decoder.decoded == [1, 2, 3]


def test_a_sound_of_unknown_origin_is_decoded_each_time(tmp_path: Path) -> None:
    decoder = Decoder()
    for _ in range(2):
        (key,) = keys(tmp_path, decoder.sound(1, None))
        assert key == sound_key(decoder.sound(1, None).waveform)
    changed = decoder.sound(1, None).changed(np.negative, "negative")
    assert changed.name is None
    assert not (tmp_path / FILE).exists()


def test_a_change_has_another_name_for_each_setting() -> None:
    sound = Decoder().sound(1, ("a",))
    changed = [sound.changed(partial(np.multiply, scale), "scale", scale) for scale in (0.5, 2.0)]
    assert len({sound.name, *(one.name for one in changed)}) == 3
    np.testing.assert_array_equal(changed[1].waveform, sound.waveform * 2)


def test_a_damaged_index_costs_time_and_nothing_else(tmp_path: Path) -> None:
    decoder = Decoder()
    expected = keys(tmp_path, decoder.sound(1, ("a",)))
    (tmp_path / FILE).write_bytes(b"\xff\x00 x y z\n\n" + (tmp_path / FILE).read_bytes()[:40])
    assert keys(tmp_path, decoder.sound(1, ("a",))) == expected
    assert keys(tmp_path, decoder.sound(1, ("a",))) == expected
    assert decoder.decoded == [1, 1]


def test_an_index_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    decoder = Decoder()
    assert len(keys(tmp_path / "file", decoder.sound(1, ("a",)))) == 1


def write(file: Path, amplitude: float, rate: int = RATE, channels: int = 1) -> None:
    tone = amplitude * np.sin(np.arange(rate) / 10)
    soundfile.write(file, np.stack([tone] * channels, axis=1), rate, format="WAV")


def cut_of(file: Path, start: float = 0.0, channel: int = 0) -> MonoCut:
    recording = Recording.from_file(file)
    return MonoCut("cut", start, 0.5, channel, recording=recording)


def test_a_changed_recording_has_another_origin(tmp_path: Path) -> None:
    file, other = tmp_path / "a.wav", tmp_path / "b.wav"
    write(file, 0.5)
    write(other, 0.25)
    cut = cut_of(file)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    origins = [cut_origin(cut, RATE)]
    assert cut_origin(cut, RATE) == origins[0]
    # Same size and same time of the last change, as far as a program can set it.
    content = other.read_bytes()
    file.write_bytes(content)
    os.utime(file, ns=times)
    origins.append(cut_origin(cut, RATE))
    os.utime(other, ns=times)
    other.replace(file)
    origins.append(cut_origin(cut, RATE))
    assert len(set(origins)) == 3
    assert None not in origins
    assert len(load_cut(cut, RATE)) == RATE // 2


def test_what_is_read_of_a_file_is_part_of_the_origin(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    write(file, 0.5, channels=2)
    cut = cut_of(file)
    origins = {
        cut_origin(cut, RATE),
        cut_origin(cut, 8_000),
        cut_origin(cut_of(file, start=0.25), RATE),
        cut_origin(cut_of(file, channel=1), RATE),
    }
    assert len(origins) == 4


def test_a_file_that_may_still_change_unnoticed_has_no_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.wav"
    write(file, 0.5)
    cut = cut_of(file)
    assert cut_origin(cut, RATE) is not None
    monkeypatch.setattr(cut_audio, "SETTLED_SECONDS", 3_600.0)
    assert cut_origin(cut, RATE) is None
    monkeypatch.setattr(cut_audio, "SETTLED_SECONDS", -1.0)
    file.unlink()
    assert cut_origin(cut, RATE) is None
