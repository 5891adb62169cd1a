"""CTC runs whose recipe has them read by beam search (``task.beam``), wherever they are read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.calibrate import WIDE_BEAM
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.recipe import load_recipe
from phoneme_moe.run_folder import load_run

if TYPE_CHECKING:
    from conftest import Outcome

SPARSE = tiny.RECIPES / "tiny_sparse.yaml"
BEAM = 5


@pytest.fixture(scope="module")
def by_beam(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out = tmp_path_factory.mktemp("runs") / "by_beam"
    return train(SPARSE, out, changes=[f"task.beam={BEAM}"], device="cpu")


def test_it_is_scored_as_it_is_read(by_beam: Trained) -> None:
    loaded = load_run(by_beam.run.folder)
    assert loaded.decoding.beam == by_beam.evaluation.beam == BEAM
    # Its scores are no probabilities: the likeliest reading of one hearing.
    assert not loaded.decoding.minimum_bayes_risk
    assert loaded.decoding.shifts_for(None) == 1
    assert by_beam.evaluation.total == evaluate(loaded).total == evaluate(loaded, beam=BEAM).total
    quality = json.loads((by_beam.run.folder / "quality.json").read_text())
    assert quality["beam"] == BEAM
    assert by_beam.evaluation.total.error_rate == pytest.approx(quality["test"]["per_beam"])
    greedy_decode = evaluate(loaded, beam=0)
    assert greedy_decode.beam is None
    assert greedy_decode.total.error_rate == pytest.approx(quality["test"]["per"])


def test_training_and_its_weights_are_as_without(by_beam: Trained, tmp_path: Path) -> None:
    without = train(SPARSE, tmp_path / "without", device="cpu")
    assert without.evaluation.beam is None
    first, second = (t.run.folder / "model.safetensors" for t in (by_beam, without))
    assert first.read_bytes() == second.read_bytes()


def test_commands_read_it_by_beam(
    by_beam: Trained, tones: PreparedCorpus, phoneme_moe: Callable[..., Outcome]
) -> None:
    folder = by_beam.run.folder
    sound = tones.cuts("test")[0].recording.sources[0].source
    usual = phoneme_moe("transcribe", folder, sound, "--nbest", "3", "--format", "json")
    asked = ("--nbest", "3", "--beam", str(BEAM), "--format", "json")
    assert usual.code == 0
    assert json.loads(usual.out) == json.loads(phoneme_moe("transcribe", folder, sound, *asked).out)
    card = phoneme_moe("model", folder).out
    assert f"with a beam of {BEAM} on" in card
    assert "with --beam 0" in card
    command = [sys.executable, "-m", "phoneme_moe", "listen", str(folder), "-"]
    command += ["--rate", "8000"]
    live = subprocess.run(command, input=bytes(3200), capture_output=True)
    assert live.returncode == 0
    assert b"uses a beam search elsewhere: expect more errors" in live.stderr


@pytest.mark.slow
def test_crf_has_the_beam_of_its_recipe(tones: PreparedCorpus, tmp_path: Path) -> None:
    changes = [
        f"task.beam={BEAM}",
        "training.stages.joint.objective=crf",
        "training.stages.joint.epochs=1",
    ]
    trained = train(SPARSE, tmp_path / "crf", changes=changes, device="cpu")
    assert trained.run.decoding.beam == BEAM
    assert trained.run.decoding.minimum_bayes_risk
    assert trained.run.decoding.with_best().beam == WIDE_BEAM


@pytest.mark.parametrize(
    ("recipe", "beam", "words"),
    [
        ("hampshire_waibel", 16, "task.beam: found 16, but tokens"),
        ("dense", 0, "task.beam: found 0, expected at least 1"),
    ],
)
def test_what_has_no_beam_is_refused(recipe: str, beam: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_recipe(recipe, [f"task.beam={beam}"])
