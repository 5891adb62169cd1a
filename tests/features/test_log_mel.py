from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phoneme_moe.features.log_mel import LogMel, shift, stack_frames

RATE = 8_000


def log_mel(normalization: str = "utterance") -> LogMel:
    return LogMel(RATE, 16, normalization=normalization)


def word(seconds: float = 0.3, seed: int = 0) -> torch.Tensor:
    """A chirp in a little noise, so that every band sounds at some time."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * RATE)) / RATE
    chirp = torch.sin(2 * torch.pi * (200 + 4000 * time) * time)
    return 0.3 * chirp + 0.01 * torch.randn(len(time), generator=generator)


def features_of(front: LogMel, waveform: torch.Tensor) -> torch.Tensor:
    features, mask = front(waveform[None], torch.tensor([len(waveform)]))
    assert mask.all()
    return features[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "n_mels", "window_ms", "window"),
    [(16_000, 40, 25.0, "hann"), (12_000, 16, 21.333, "hamming"), (8_000, 40, 25.0, "hann")],
)
def test_mel_energies_are_those_of_librosa(
    rate: int, n_mels: int, window_ms: float, window: str
) -> None:
    import librosa

    front = LogMel(rate, n_mels, window_ms, window=window)
    noise = np.random.default_rng(0).standard_normal(rate).astype(np.float32)
    found = front.mel_energies(torch.from_numpy(noise)[None])[0].numpy()
    left = (front.n_fft - front.hop) // 2
    with warnings.catch_warnings():
        # At 8 kHz the lowest of 40 bands are narrower than a bin; librosa warns of it.
        warnings.simplefilter("ignore")
        expected = librosa.feature.melspectrogram(
            y=np.pad(noise, (left, front.n_fft - front.hop - left)),
            sr=rate,
            n_fft=front.n_fft,
            hop_length=front.hop,
            win_length=round(rate * window_ms / 1000),
            window=window,
            center=False,
            n_mels=n_mels,
            htk=True,
            norm=None,
        ).T
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=4e-6, atol=4e-6 * expected.max())


@pytest.mark.parametrize("normalization", ["utterance", "range"])
@given(exponent=st.floats(-2, 0))
@settings(max_examples=20)
def test_loudness_changes_nothing(normalization: str, exponent: float) -> None:
    front = log_mel(normalization)
    loud = features_of(front, word())
    quiet = features_of(front, word() * 10**exponent)
    torch.testing.assert_close(quiet, loud, atol=2e-4, rtol=0)


@pytest.mark.parametrize("normalization", ["utterance", "range"])
@given(
    lengths=st.lists(st.integers(400, 4_000), min_size=1, max_size=4),
    padding=st.integers(0, 1_000),
    seed=st.integers(0, 99),
)
@settings(max_examples=30)
def test_neither_padding_nor_the_rest_of_the_batch_changes_features(
    normalization: str, lengths: list[int], padding: int, seed: int
) -> None:
    front = log_mel(normalization)
    sounds = [word(length / RATE, seed + i) for i, length in enumerate(lengths)]
    # What lies beyond an end is ignored, whatever it is.
    waveforms = torch.full((len(sounds), max(lengths) + padding), 9.0)
    for row, sound in enumerate(sounds):
        waveforms[row, : len(sound)] = sound
    features, mask = front(waveforms, torch.tensor(lengths))
    for row, sound in enumerate(sounds):
        alone = features_of(front, sound)
        torch.testing.assert_close(features[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)
        assert mask[row].tolist() == [t < len(alone) for t in range(mask.shape[1])]
        assert (features[row, len(alone) :] == 0).all()


@given(num_samples=st.integers(100, 10_000), hop_ms=st.sampled_from([5.0, 10.0, 12.5]))
@settings(max_examples=40)
def test_no_frame_ends_past_the_end_and_less_than_a_frame_is_left_over(
    num_samples: int, hop_ms: float
) -> None:
    front = LogMel(RATE, 4, hop_ms=hop_ms)
    features, mask = front(torch.randn(1, num_samples), torch.tensor([num_samples]))
    num_frames = front.num_frames(num_samples)
    assert features.shape == (1, num_frames, 4)
    assert mask.sum() == num_frames == num_samples // front.hop
    ends = num_frames * front.frame_seconds
    assert ends <= num_samples / RATE + 1e-12 < ends + front.frame_seconds + 1e-9


def test_a_frame_is_centred_on_the_samples_it_stands_for() -> None:
    front = log_mel()
    for frame in (0, 7, 19):
        click = torch.zeros(1, 20 * front.hop)
        click[0, frame * front.hop + front.hop // 2] = 1.0
        assert front.mel_energies(click)[0].sum(dim=1).argmax() == frame


def test_a_higher_tone_lies_in_a_higher_band() -> None:
    front = log_mel()
    time = torch.arange(2_000) / RATE
    bands = [
        int(features_of(front, torch.sin(2 * torch.pi * f * time))[5:-5].mean(dim=0).argmax())
        for f in (200, 600, 1200, 2000, 3500)
    ]
    assert bands == sorted(set(bands))


def test_range_normalisation_lies_within_one_about_a_mean_of_zero() -> None:
    features = features_of(log_mel("range"), word())
    assert features.abs().max() == pytest.approx(1, abs=1e-6)
    assert features.mean() == pytest.approx(0, abs=1e-6)


def test_utterance_normalisation_of_an_even_sound_has_mean_zero_and_variance_one() -> None:
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    features = log_mel()(noise, torch.tensor([RATE]))[0][0]
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(16), atol=1e-5, rtol=0)
    assert features.square().mean() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("normalization", ["utterance", "range"])
def test_digital_silence_gives_finite_features(normalization: str) -> None:
    features = features_of(log_mel(normalization), torch.zeros(RATE))
    assert features.isfinite().all()


@pytest.mark.parametrize("normalization", ["utterance", "range"])
@pytest.mark.parametrize("lengths", [[800, 40], [40]])
def test_a_recording_shorter_than_a_frame_gives_no_real_frame_and_no_nan(
    normalization: str, lengths: list[int]
) -> None:
    front = log_mel(normalization)
    waveforms = torch.randn(len(lengths), max(lengths))
    features, mask = front(waveforms, torch.tensor(lengths))
    assert mask.sum(dim=1).tolist() == [length // front.hop for length in lengths]
    assert features.isfinite().all()
    assert (features[-1] == 0).all()


def test_silence_around_a_word_hardly_changes_its_frames() -> None:
    front = log_mel()
    alone = features_of(front, word(0.4))
    surrounded = {}
    for seconds in (0.2, 1.0, 3.0):
        silence = torch.zeros(round(seconds * RATE))
        first = len(silence) // front.hop
        whole = features_of(front, torch.cat([silence, word(0.4), silence]))
        surrounded[seconds] = whole[first : first + len(alone)]
    # Frames at the edges, half of them word, may count as word; beyond them there is no effect.
    assert (surrounded[1.0] - alone).abs().max() < 0.1
    torch.testing.assert_close(surrounded[3.0], surrounded[0.2], atol=1e-4, rtol=0)


@given(frames=st.integers(1, 12), real=st.integers(1, 12), stack=st.integers(1, 4))
def test_stacking_keeps_every_frame_in_its_place(frames: int, real: int, stack: int) -> None:
    mask = (torch.arange(frames) < real)[None]
    features = (torch.arange(frames * 3.0).reshape(1, frames, 3) + 1) * mask[..., None]
    stacked, stacked_mask = stack_frames(features, mask, stack)
    steps = -(-frames // stack)
    assert stacked.shape == (1, steps, 3 * stack)
    assert stacked_mask.sum() == -(-min(real, frames) // stack)
    unstacked = stacked.reshape(1, steps * stack, 3)
    assert torch.equal(unstacked[:, :frames], features)
    assert (unstacked[:, frames:] == 0).all()


@given(frames=st.integers(1, 9), real=st.integers(1, 9), later=st.integers(0, 3))
def test_a_delay_holds_the_first_frame_longer(frames: int, real: int, later: int) -> None:
    mask = (torch.arange(frames) < real)[None]
    features = (torch.arange(frames * 3.0).reshape(1, frames, 3) + 1) * mask[..., None]
    shifted, delayed_mask = shift(features, mask, later)
    assert torch.equal(shifted[:, later:], features)
    assert torch.equal(delayed_mask[:, later:], mask)
    assert torch.equal(shifted[:, :later], features[:, :1].expand(-1, later, -1))
    assert delayed_mask[:, :later].all()
