"""Log mel features that are too large for memory: the same values, from disk."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from lhotse.cut import Cut

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.cut_audio import load_cut
from phoneme_moe.data import example_features, examples
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.pipeline import train
from phoneme_moe.recipe import load_recipe
from phoneme_moe.training.stages import build_recognizer

RECIPE = tiny.RECIPES / "tiny_recognize.yaml"


def load(tones: PreparedCorpus, *changes: str, speeds: tuple[float, ...] = ()) -> list[Example]:
    recipe = load_recipe(RECIPE, changes)
    return load_examples(
        recipe, tones, "train", build_recognizer(recipe, tones), sound_speeds=speeds
    )


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Everything is too large; features go to an empty folder."""
    monkeypatch.setattr(example_features, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(example_features, "DECODED_AT_ONCE", 4)
    monkeypatch.setattr(examples, "EXAMPLES_AT_ONCE", 10)
    monkeypatch.setattr(example_features, "data_root", lambda: tmp_path)
    return tmp_path


def test_features_from_disk_are_those_in_memory(
    tones: PreparedCorpus, small_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = load(tones, speeds=(0.9,))
    monkeypatch.setattr(example_features, "IN_MEMORY_BYTES", 1 << 40)
    in_memory = load(tones, speeds=(0.9,))
    assert [e.utterance for e in stored] == [e.utterance for e in in_memory]
    for one, other in zip(stored, in_memory, strict=True):
        for features, expected in (
            (one.features, other.features),
            (one.at_speeds[0], other.at_speeds[0]),
        ):
            assert features.dtype == torch.float16
            torch.testing.assert_close(features.float(), expected, rtol=1e-3, atol=1e-3)


def test_other_settings_have_other_features(tones: PreparedCorpus, small_memory: Path) -> None:
    assert load(tones)[0].features.shape[1] == 16
    assert load(tones, "features.n_mels=12")[0].features.shape[1] == 12
    wider = load(tones, "features.window_ms=40")
    assert not torch.equal(wider[0].features, load(tones)[0].features)


def test_few_recordings_are_in_memory_at_once(
    tones: PreparedCorpus, small_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: set[int] = set()
    most = decoded = 0

    def counted(cut: Cut, sample_rate: int) -> Waveform:
        nonlocal most, decoded
        waveform = np.array(load_cut(cut, sample_rate))
        decoded += 1
        alive.add(decoded)
        weakref.finalize(waveform, alive.discard, decoded)
        gc.collect()
        most = max(most, len(alive))
        return waveform

    monkeypatch.setattr(examples, "load_cut", counted)
    loaded = load(tones)
    assert decoded == len(loaded) > 12
    assert most <= 5


@pytest.mark.slow
def test_a_run_learns_from_disk(tones: PreparedCorpus, small_memory: Path, tmp_path: Path) -> None:
    changes = [f"training.stages.{name}.epochs=6" for name in ("experts", "gate", "joint")]
    trained = train(RECIPE, tmp_path / "run", changes=changes, device="cpu")
    assert any((small_memory / ".features").glob("log-mel-*/values.bin"))
    assert trained.evaluation.total.error_rate < 0.3
