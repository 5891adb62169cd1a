"""Training on recordings at several speeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from interruptible import run_once

from phoneme_moe.audio.waveform import change_sound_speed
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import train
from phoneme_moe.recipe import load_recipe
from phoneme_moe.training.loaders import ExampleBatches
from phoneme_moe.training.sampler import BalancedBatches
from phoneme_moe.training.stages import build_recognizer

SPARSE = tiny.RECIPES / "tiny_sparse.yaml"
SPEEDS = "training.sound_speeds=[0.9, 1.25]"


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.1])
def test_a_tone_is_shorter_and_higher(speed: float) -> None:
    tone = np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000).astype(np.float32)
    played = change_sound_speed(tone, speed)
    assert len(played) == pytest.approx(16_000 / speed, abs=1)
    assert np.abs(np.fft.rfft(played, 16_000)).argmax() == pytest.approx(400 * speed, abs=1)


def test_examples_have_features_of_every_speed(tones: PreparedCorpus) -> None:
    recipe = load_recipe(SPARSE, [SPEEDS])
    recognizer = build_recognizer(recipe, tones)
    examples = load_examples(
        recipe, tones, "train", recognizer, sound_speeds=recipe.training.sound_speeds
    )
    plain = load_examples(recipe, tones, "train", recognizer)
    for example, usual in zip(examples, plain, strict=True):
        assert torch.equal(example.features, usual.features)
        slow, fast = example.at_speeds
        assert len(slow) == pytest.approx(len(usual.features) / 0.9, abs=2)
        assert len(fast) == pytest.approx(len(usual.features) / 1.25, abs=2)
    batches = ExampleBatches(examples, recognizer)
    size = len(examples)
    batch = batches[[3, 3 + size, 3 + 2 * size]]
    lengths = batch.mask.sum(dim=1).tolist()
    assert lengths == [len(examples[3].features), *(len(f) for f in examples[3].at_speeds)]
    assert batch.targets[0].tolist() == batch.targets[1].tolist()


def test_every_utterance_comes_once_in_an_epoch_at_any_speed(tones: PreparedCorpus) -> None:
    recipe = load_recipe(SPARSE, [SPEEDS])
    examples = load_examples(recipe, tones, "train", build_recognizer(recipe, tones))
    batches = BalancedBatches(examples, 6, seed=0, num_speeds=3)
    epochs = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        drawn = [index for batch in batches for index in batch]
        assert sorted(index % len(examples) for index in drawn) == list(range(len(examples)))
        assert {index // len(examples) for index in drawn} == {0, 1, 2}
        epochs.append(drawn)
    assert epochs[0] != epochs[1]
    batches.set_epoch(0)
    assert [index for batch in batches for index in batch] == epochs[0]
    one = BalancedBatches(examples, 6, seed=0)
    assert [index for batch in one for index in batch] == [i % len(examples) for i in epochs[0]]


@pytest.mark.slow
def test_a_run_learns_and_resumes_as_if_uninterrupted(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    recipe = tmp_path / "speeds.yaml"
    text = SPARSE.read_text().replace("  stages:", "  sound_speeds: [0.9, 1.1]\n  stages:")
    recipe.write_text(text)
    trained = train(recipe, tmp_path / "whole", device="cpu")
    assert trained.evaluation.total.error_rate < 0.2
    assert run_once(recipe, tmp_path / "killed", 12, True) != 0
    assert run_once(recipe, tmp_path / "killed", None, True) == 0
    for name in ("model.safetensors", "metrics.csv"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "killed" / name).read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.sound_speeds=[1]", "expected different speeds without 1"),
        ("training.sound_speeds=[0.9, 0.9]", "expected different speeds without 1"),
        ("training.sound_speeds=[3]", "sound_speeds"),
    ],
)
def test_wrong_speeds_are_refused(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe(SPARSE, [change])


def test_a_teacher_has_one_speed(tmp_path: Path) -> None:
    teacher = f'training.teacher={{"run": "{tmp_path}"}}'
    with pytest.raises(InputError, match="sound_speeds: found some with a teacher"):
        load_recipe(SPARSE, [SPEEDS, teacher])
