"""Scores of pronunciation: what they mean, and that they come along with a run."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pytest
import soundfile
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from benchmarks.pronunciation import agreement
from phoneme_moe import load
from phoneme_moe.decoding.goodness import GoodnessCalibration
from phoneme_moe.decoding.viterbi import force_align
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.goodness_calibration import (
    calibrate_goodness,
    calibrate_run,
    confusions,
    judge,
)
from phoneme_moe.evaluation.split_outputs import SplitOutputs, infer_split
from phoneme_moe.models import shipped_models
from phoneme_moe.run_folder import read_decoding
from phoneme_moe.transcription.goodness import goodness_of_pronunciation

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Outcome

    from phoneme_moe.corpora import PreparedCorpus
    from phoneme_moe.pipeline import Trained

SPOKEN = "a s i m a"
SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "alignment.schema.json"

goodness = st.floats(-1e6, 1e6)


@given(st.floats(0, 1000), st.floats(-1000, 1000), goodness, goodness)
def test_scores_rise_with_goodness_from_0_to_100(
    slope: float, intercept: float, one: float, other: float
) -> None:
    calibration = GoodnessCalibration(slope, intercept)
    low, high = (calibration.score(value) for value in sorted((one, other)))
    assert 0 <= low <= high <= 100


@given(st.floats(0, 10), st.floats(-10, 10), st.floats(-50, 50))
def test_a_score_is_the_logistic_function(slope: float, intercept: float, value: float) -> None:
    score = GoodnessCalibration(slope, intercept).score(value)
    assert score == pytest.approx(100 * expit(slope * value + intercept), abs=1e-9)


@pytest.fixture(scope="module")
def dev(recognized: Trained, tones: PreparedCorpus) -> SplitOutputs:
    return infer_split(recognized.run, tones, "dev")


def test_replaced_phonemes_score_lower(
    recognized: Trained, tones: PreparedCorpus, dev: SplitOutputs
) -> None:
    calibration = recognized.run.decoding.goodness
    assert calibration is not None
    judged = judge(infer_split(recognized.run, tones, "test"), confusions(dev))
    right, replaced = (fmean(map(calibration.score, part)) for part in judged)
    assert len(judged.right) == len(judged.replaced) > 10
    assert right > 80
    assert replaced < 20


def test_a_phoneme_is_replaced_by_another_one(dev: SplitOutputs) -> None:
    replacements = confusions(dev)
    assert replacements.sum(axis=1) == pytest.approx(np.ones(len(replacements)))
    assert (np.diag(replacements) == 0).all()
    assert (replacements[:, 0] == 0).all()  # never by the blank
    others = len(replacements) - 2
    positive = replacements[1:][replacements[1:] > 0]
    assert positive.min() >= 0.1 / others - 1e-12


def test_calibration_repeats_and_touches_no_random_state(dev: SplitOutputs) -> None:
    # The global state of numpy is what must not change, hence the legacy call, here and below.
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    first = calibrate_goodness(dev)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(np.random.get_state())) == states[1:]  # noqa: NPY002
    assert first is not None
    assert calibrate_goodness(dev) == first
    assert calibrate_goodness(dev, seed=1) != first


def test_only_so_many_phonemes_are_judged(dev: SplitOutputs) -> None:
    replacements = confusions(dev)
    everything = judge(dev, replacements)
    few = judge(dev, replacements, max_replaced=10)
    assert len(everything.right) == sum(len(example.phonemes) for example in dev.examples)
    assert 5 <= len(few.right) <= 15


def test_nothing_to_learn_from_gives_no_calibration(dev: SplitOutputs) -> None:
    assert calibrate_goodness(replace(dev, examples=[], model_outputs=[])) is None
    # The posteriors of each utterance upside down: what was spoken is least likely.
    turned = [
        replace(output, log_posteriors=-output.log_posteriors - 20) for output in dev.model_outputs
    ]
    assert calibrate_goodness(replace(dev, model_outputs=turned)) is None


def test_scores_agree_with_raters_who_judge_alike(recognized: Trained, dev: SplitOutputs) -> None:
    calibration = recognized.run.decoding.goodness
    assert calibration is not None
    human = {}
    for example, output in zip(dev.examples, dev.model_outputs, strict=True):
        outputs = dev.spec.phonemes.encode(example.phonemes)
        (spans,) = force_align(output.log_posteriors, [output.log_posteriors.shape[1]], [outputs])
        log_posteriors = torch.from_numpy(output.log_posteriors[0])
        goodness, _ = goodness_of_pronunciation(log_posteriors, outputs, spans)
        rated = [calibration.score(value) / 50 for value in goodness]  # 0..2, as raters do
        words = [
            {"phones-accuracy": part, "accuracy": 5 * fmean(part)}
            for part in (rated[:1], rated[1:])
        ]
        human[example.utterance] = {"words": words, "accuracy": 5 * fmean(rated)}
    for pearson, spearman in agreement(calibration, dev, human).values():
        assert pearson == pytest.approx(1)
        assert spearman == pytest.approx(1)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "ann.wav"
    samples, _ = tiny.speak(SPOKEN.split(), "ann", np.random.default_rng(12))
    soundfile.write(path, samples, tiny.RATE)
    return path


@pytest.fixture
def old(recognized: Trained, tmp_path: Path) -> Path:
    """The run as an earlier version wrote it."""
    folder = tmp_path / "old"
    shutil.copytree(recognized.run.folder, folder)
    lines = (folder / "decoding.json").read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"goodness"' not in line]
    assert len(kept) == len(lines) - 1
    (folder / "decoding.json").write_text("".join(kept))
    return folder


def test_words_and_the_sentence_have_the_mean_of_their_phonemes(
    recognized: Trained, recording: Path, tmp_path: Path
) -> None:
    run, lexicon = load(recognized.run.folder), tmp_path / "lexicon.txt"
    lexicon.write_text("AS  a s\nIMA  i m a\n")
    alignment = run.align(recording, text="As ima.", lexicon=lexicon)
    calibration = run.decoding.goodness
    assert calibration is not None
    assert alignment.scores == tuple(map(calibration.score, alignment.goodness))
    assert [word.score for word in alignment.words] == [
        fmean(alignment.scores[:2]),
        fmean(alignment.scores[2:]),
    ]
    assert alignment.score == fmean(alignment.scores)
    wrong = run.align(recording, "a s a m a")
    assert wrong.scores is not None
    assert min(wrong.scores) == wrong.scores[2] < 50


def test_every_format_has_the_scores(
    recognized: Trained, recording: Path, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "lexicon.txt").write_text("AS  a s\nIMA  i m a\n")
    text = ["--text", "as ima", "--lexicon", tmp_path / "lexicon.txt"]
    command = ("align", recognized.run.folder, recording, *text)
    data = json.loads(phoneme_moe(*command, "--format", "json").out)
    jsonschema.validate(data, json.loads(SCHEMA.read_text()), jsonschema.Draft202012Validator)
    scores = [segment["score"] for segment in data["segments"]]
    assert data["score"] == pytest.approx(fmean(scores), abs=0.11)
    assert data["words"][0]["score"] == pytest.approx(fmean(scores[:2]), abs=0.11)

    head, *table, last = phoneme_moe(*command).out.splitlines()
    assert head.split()[-2:] == ["score", "best"]
    assert [float(row.split()[5]) for row in table] == pytest.approx(scores, abs=0.51)
    of_words = ", ".join(f"{word['word']} {word['score']:.0f}" for word in data["words"])
    assert last == f"score {data['score']:.0f}: {of_words}"

    head, *rows = phoneme_moe(*command, "--format", "csv").out.splitlines()
    assert head.endswith(",best,score")
    assert [float(row.rpartition(",")[2]) for row in rows] == scores
    grid = phoneme_moe(*command, "--format", "textgrid").out
    assert 'name = "score"' in grid


def test_a_run_of_an_earlier_version_has_none_until_it_is_calibrated(
    recognized: Trained,
    old: Path,
    recording: Path,
    phoneme_moe: Callable[..., Outcome],
) -> None:
    alignment = load(old).align(recording, SPOKEN)
    assert alignment.scores is None
    assert alignment.score is None
    command = ("align", old, recording, "--phonemes", SPOKEN)
    table = phoneme_moe(*command).out
    assert "score" not in table
    assert len(table.splitlines()) == 1 + len(SPOKEN.split())
    data = json.loads(phoneme_moe(*command, "--format", "json").out)
    assert data["score"] is None
    assert {segment["score"] for segment in data["segments"]} == {None}
    rows = phoneme_moe(*command, "--format", "csv").out.splitlines()
    assert rows[0].endswith(",best,score")
    assert all(row.endswith(",") for row in rows[1:])

    calibrated = load(old).calibrate_goodness()
    assert calibrated.decoding == recognized.run.decoding
    written, of_training = (
        (folder / "decoding.json").read_bytes() for folder in (old, recognized.run.folder)
    )
    assert written == of_training


def test_an_exported_model_gives_the_same_scores(
    recognized: Trained, recording: Path, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    path = load(recognized.run.folder).export(tmp_path / "model.onnx")
    by_run, by_onnx = (
        json.loads(
            phoneme_moe("align", model, recording, "--phonemes", SPOKEN, "--format", "json").out
        )
        for model in (recognized.run.folder, path)
    )
    scores, others = ([s["score"] for s in data["segments"]] for data in (by_run, by_onnx))
    assert scores == pytest.approx(others, abs=0.2)


def test_tokens_and_models_of_the_package_are_not_calibrated(
    recognized: Trained, classified: Trained
) -> None:
    with pytest.raises(InputError, match="one token"):
        calibrate_run(classified.run)
    shipped = replace(recognized.run, folder=shipped_models()["english"])
    with pytest.raises(InputError, match=r"^english: found a model of the package"):
        calibrate_run(shipped)
    assert classified.run.decoding.goodness is None


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_the_models_of_the_package_are_calibrated(name: str) -> None:
    calibration = read_decoding(shipped_models()[name]).goodness
    assert calibration is not None
    assert calibration.score(-10) < 5
    assert calibration.score(10) > 95
