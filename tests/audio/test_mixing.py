"""Channels that cancel out, and constant offsets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.audio import AudioWarning
from phoneme_moe.audio.mixing import Mixer, OffsetRemoval
from phoneme_moe.audio.waveform import Samples

NOISE = np.random.default_rng(0).standard_normal((16_000, 8)).astype(np.float32) * 0.1
VOICE = NOISE[:, 0]


@pytest.mark.parametrize("gain", [1.0, 0.9, 0.7])
def test_an_inverted_channel_is_not_mixed(gain):
    mix = Mixer(2)
    assert np.array_equal(mix(np.stack([gain * VOICE, -VOICE], 1)), -VOICE if gain < 1 else VOICE)
    assert "cancel out" in mix.note


@pytest.mark.parametrize(
    "channels",
    [
        NOISE[:, :2],
        NOISE,
        np.stack([VOICE, np.zeros_like(VOICE)], 1),
        np.stack([VOICE, VOICE], 1),
        np.stack([VOICE, -0.3 * VOICE], 1),
        np.zeros((100, 2), np.float32),
    ],
    ids=["two voices", "eight", "one is silent", "the same", "crosstalk", "silence"],
)
def test_other_channels_are_averaged(channels):
    mix = Mixer(channels.shape[1])
    assert np.array_equal(mix(channels), channels.mean(axis=1))
    assert mix.note == ""


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=6))
def test_blocks_make_no_difference(cuts):
    stereo = np.stack([0.95 * VOICE, -VOICE], 1)
    mix = Mixer(2)
    parts = [mix(block) for block in np.split(stereo, np.cumsum(cuts)[np.cumsum(cuts) < 16_000])]
    assert np.array_equal(np.concatenate(parts), -VOICE)


def test_the_given_channel_is_taken():
    assert np.array_equal(Mixer(2, channel=1)(np.stack([VOICE, -VOICE], 1)), VOICE)


def test_samples_in_memory_are_mixed_the_same_way():
    audio = Samples(np.stack([VOICE, -VOICE], 1), 16_000, name="call")
    with pytest.warns(AudioWarning, match="call: its channels cancel out; channel 1"):
        assert np.array_equal(audio.waveform(16_000), VOICE)


def test_an_offset_is_removed():
    removed = OffsetRemoval()(VOICE + np.float32(0.3))
    assert removed == pytest.approx(VOICE - VOICE.mean(), abs=1e-6)


def test_a_constant_is_silence():
    assert not OffsetRemoval()(np.full(1000, 0.3, np.float32)).any()


def test_speech_without_an_offset_stays_bit_for_bit():
    assert OffsetRemoval()(VOICE) is VOICE


def test_the_first_block_decides():
    remove = OffsetRemoval()
    first = remove(VOICE + np.float32(0.3))
    assert np.array_equal(remove(VOICE + np.float32(0.3)), first)
