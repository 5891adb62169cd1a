from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.features.log_mel import LogMel
from phoneme_moe.features.log_mel_numpy import FrontEnd

SETTINGS = [
    {"sample_rate": 16000, "n_mels": 80},
    {"sample_rate": 8000, "n_mels": 40, "window": "hamming", "normalization": "range"},
    {"sample_rate": 12000, "n_mels": 16, "window_ms": 21.3, "window": "hamming"},
    {"sample_rate": 22050, "n_mels": 40, "window_ms": 20.0, "hop_ms": 20.0},
]


def speechlike(num_samples: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    loudness = np.abs(np.sin(np.arange(num_samples) / 2000)) ** 3 + 1e-3
    return (0.3 * random.standard_normal(num_samples) * loudness).astype(np.float32)


@pytest.mark.parametrize("settings", SETTINGS)
@given(seconds=st.floats(0, 2), seed=st.integers(0, 99))
def test_features_are_those_of_training(
    settings: dict[str, object], seconds: float, seed: int
) -> None:
    log_mel, front_end = LogMel(**settings), FrontEnd(**settings)
    waveform = speechlike(round(seconds * front_end.sample_rate), seed)
    length = torch.tensor([len(waveform)])
    expected, mask = log_mel(torch.from_numpy(waveform)[None], length)
    found = front_end(waveform)
    assert found.shape == expected.shape[1:]
    assert len(found) == int(mask.sum())
    np.testing.assert_allclose(found, expected[0], atol=2e-4)


@pytest.mark.slow
@given(cuts=st.lists(st.integers(1, 299), max_size=4, unique=True))
def test_statistics_do_not_depend_on_the_blocks(cuts: list[int]) -> None:
    front_end = FrontEnd(16000, 80)
    energies = front_end.energies(speechlike(48_000, 1))
    whole = front_end.level(lambda: [energies])
    parts = front_end.level(lambda: np.split(energies, sorted(cuts)))
    assert parts.loudest == whole.loudest
    np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-5)
    assert parts.scale == pytest.approx(whole.scale, rel=1e-5)
    stretch = front_end.normalize(energies[40:90], whole)
    np.testing.assert_allclose(stretch, front_end(speechlike(48_000, 1))[40:90], atol=1e-5)


def test_energies_of_a_stretch_need_only_its_margins() -> None:
    front_end = FrontEnd(16000, 80)
    waveform = speechlike(32_000, 2)
    whole = front_end.energies(waveform)
    first, last = 30, 70
    begin = first * front_end.hop - front_end.left
    samples = waveform[begin : begin + (last - first - 1) * front_end.hop + front_end.n_fft]
    # A BLAS may sum in another order for another number of frames.
    np.testing.assert_allclose(
        front_end.energies_between(samples), whole[first:last], rtol=2e-6, atol=0
    )
