import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.errors import InputError
from phoneme_moe.features.feature_store import FeatureStore, sound_key


def encode(waveform: np.ndarray) -> torch.Tensor:
    """Three features of every ten samples."""
    frames = torch.from_numpy(waveform[: len(waveform) // 10 * 10]).reshape(-1, 10)
    return torch.stack([frames.mean(1), frames.amax(1), frames.amin(1)], dim=1)


def sounds(*lengths: int) -> list[tuple[str, np.ndarray]]:
    random = np.random.default_rng(0)
    waveforms = [random.standard_normal(n).astype(np.float32) for n in lengths]
    return [(sound_key(waveform), waveform) for waveform in waveforms]


@given(lengths=st.lists(st.integers(0, 200), min_size=1, max_size=6), cut=st.integers(0, 6))
def test_what_was_stored_is_read_back(
    lengths: list[int], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    recordings = sounds(*lengths)
    FeatureStore(folder, 3).compute_missing(recordings[:cut], encode)
    store = FeatureStore(folder, 3)
    store.compute_missing(recordings, encode)
    for opened in (store, FeatureStore(folder, 3)):
        for key, waveform in recordings:
            assert key in opened
            assert torch.equal(opened.features(key), encode(waveform).half())


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    recordings = sounds(50, 60, 70)
    calls = []

    def counted(waveform: np.ndarray) -> torch.Tensor:
        calls.append(len(waveform))
        return encode(waveform)

    FeatureStore(tmp_path, 3).compute_missing(recordings[:2], counted)
    FeatureStore(tmp_path, 3).compute_missing(recordings, counted)
    assert calls == [50, 60, 70]


def test_an_interruption_loses_the_last_recording_only(tmp_path: Path) -> None:
    recordings = sounds(50, 60, 70)

    def interrupted(waveform: np.ndarray) -> torch.Tensor:
        if len(waveform) == 70:
            raise KeyboardInterrupt
        return encode(waveform)

    with pytest.raises(KeyboardInterrupt):
        FeatureStore(tmp_path, 3).compute_missing(recordings, interrupted)
    with (tmp_path / "values.bin").open("ab") as values:  # rows whose line was not written
        values.write(bytes(31))
    with (tmp_path / "index.jsonl").open("ab") as index:  # half a line
        index.write(b'["abc", 1')
    store = FeatureStore(tmp_path, 3)
    assert [key in store for key, _ in recordings] == [True, True, False]
    store.compute_missing(recordings, encode)
    for key, waveform in recordings:
        assert torch.equal(FeatureStore(tmp_path, 3).features(key), encode(waveform).half())


def test_lines_beyond_the_values_are_not_believed(tmp_path: Path) -> None:
    recordings = sounds(50)
    FeatureStore(tmp_path, 3).compute_missing(recordings, encode)
    with (tmp_path / "index.jsonl").open("a") as index:
        index.write(json.dumps(["more", 5, 100]) + "\n")
    store = FeatureStore(tmp_path, 3)
    assert "more" not in store
    assert recordings[0][0] in store


def test_a_damaged_index_is_named_with_its_line(tmp_path: Path) -> None:
    FeatureStore(tmp_path, 3).compute_missing(sounds(50), encode)
    with (tmp_path / "index.jsonl").open("a") as index:
        index.write("nonsense\n")
    with pytest.raises(InputError, match=r"index\.jsonl:2: found b'nonsense'.*delete"):
        FeatureStore(tmp_path, 3)


def test_a_change_of_an_example_does_not_reach_the_file(tmp_path: Path) -> None:
    ((key, waveform),) = sounds(50)
    store = FeatureStore(tmp_path, 3)
    store.compute_missing([(key, waveform)], encode)
    store.features(key).zero_()
    assert torch.equal(FeatureStore(tmp_path, 3).features(key), encode(waveform).half())


def test_values_beyond_16_bits_stay_finite(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 1)
    store.compute_missing([("a", np.zeros(1, np.float32))], lambda _: torch.tensor([[1e6]]))
    assert float(store.features("a")) == 65_504.0
