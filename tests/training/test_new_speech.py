"""Experts for new speech that a run serves badly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.corpora import PreparedCorpus, load_corpus, prepare_corpus
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.model.growth import GrowthDocument
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.run_folder import load_run
from phoneme_moe.training import new_speaker
from phoneme_moe.training.new_speech import find_new_speech
from phoneme_moe.training.underserved import (
    Served,
    badly_served_threshold,
    cluster_utterances,
    measure_served,
)

if TYPE_CHECKING:
    from conftest import Outcome


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_speaker, "EXPERT_STEPS", 60)
    monkeypatch.setattr(new_speaker, "GATE_STEPS", 60)


@pytest.fixture(scope="module")
def high(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    """Speech of a speaker whose formants are far above those of the tiny corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "SPEAKERS", {"eve": 1.6})
        manifest = tiny.write_tones(tmp_path_factory.mktemp("high"), 40)
    prepare_corpus("lhotse", manifest, as_name="high")
    return load_corpus("high")


@pytest.fixture(scope="module")
def sparse(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(
        tiny.RECIPES / "tiny_sparse.yaml", tmp_path_factory.mktemp("runs") / "sparse", device="cpu"
    )


@pytest.mark.parametrize("kind", ["recognized", "sparse"])
def test_new_speech_gets_experts_and_all_that_is_old_is_frozen(
    kind: str,
    high: PreparedCorpus,
    phoneme_moe: Callable[..., Outcome],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(new_speaker, "EXPERT_STEPS", 200)
    monkeypatch.setattr(new_speaker, "GATE_STEPS", 300)
    run: Path = request.getfixturevalue(kind).run.folder
    outs = [tmp_path / "first", tmp_path / "second"]
    for out in outs:
        outcome = phoneme_moe("grow", run, "--corpus", "high", "--out", out)
        assert outcome.code == 0, outcome.err
    document = GrowthDocument.read(outs[0] / "growth.json")
    assert document.corpus == "high"
    assert document.badly_served > document.utterances / 2
    assert sum(cluster.utterances for cluster in document.clusters) == document.badly_served
    # The tiny gate can hardly tell the new speaker from the old ones.
    assert document.new.after <= document.new.before
    assert document.old.after <= document.old.before + 0.1
    assert f"{document.badly_served} of {document.utterances} training utterances" in outcome.out
    assert any(expert.new > expert.old for expert in document.experts)
    old, new = load_run(run).recognizer, load_run(outs[0]).recognizer
    after = new.state_dict()
    for name, before in old.named_parameters():
        kept = after[name]
        if before.shape != kept.shape:  # the gate has a column for each expert, all else a row
            last = before.shape[-1]
            kept = kept[..., :last] if name.startswith("gate.") else kept[: len(before)]
        assert torch.equal(before, kept), name
    # By its seed.
    again = load_run(outs[1]).recognizer.state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in after.items())
    assert GrowthDocument.read(outs[1] / "growth.json") == document


def test_an_expert_of_a_single_speaker_has_its_name(
    recognized: Trained, high: PreparedCorpus, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome = phoneme_moe(
        "grow", recognized.run.folder, "--corpus", "high", "--experts", "2", "--out", out
    )
    assert outcome.code == 0, outcome.err
    names = load_run(out).recognizer.expert_names
    assert names == ("ann", "bob", "carol", "eve", "high_2")


def test_speech_that_is_served_well_adds_nothing(
    sparse: Trained, high: PreparedCorpus, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "SPEAKERS", {"ann_too": 1.0})
        folder = tmp_path / "source"
        folder.mkdir()
        prepare_corpus("lhotse", tiny.write_tones(folder), as_name="similar")
    out = tmp_path / "out"
    outcome = phoneme_moe("grow", sparse.run.folder, "--corpus", "similar", "--out", out)
    assert outcome.code == 0, outcome.err
    assert "Nothing to add" in outcome.out
    assert not out.exists()


def test_other_speakers_of_the_own_corpus_are_new(recognized: Trained) -> None:
    speech = find_new_speech(load_run(recognized.run.folder), tiny.CORPUS)
    assert {example.speaker for example in speech.train} == {"dan"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--corpus", "absent"], "absent"),
        (["--corpus", "foreign"], "grow: foreign has the speaker 'ann', who is in the test split"),
        (["--corpus", "tones"], "grow: tones is the corpus of the run, and the run was trained"),
        (["--corpus", "high", "--experts", "0"], "experts: found 0, expected at least 1"),
        (["--corpus", "high", "--experts", "999"], "experts: found 999, expected at most"),
        (["--corpus", "strange"], "grow: strange has the phoneme 'o' (utterance "),
        ([], "grow: expected --experts N, or --corpus NAME"),
    ],
)
def test_what_cannot_grow_is_refused_in_a_line(
    arguments: list[str],
    problem: str,
    sparse: Trained,
    high: PreparedCorpus,
    foreign: PreparedCorpus,
    phoneme_moe: Callable[..., Outcome],
    tmp_path: Path,
) -> None:
    if "strange" in arguments:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tiny, "SPEAKERS", {"zoe": 1.2})
            prepare_corpus("lhotse", tiny.write_tones(tmp_path, 12, {"m": "o"}), as_name="strange")
    out = tmp_path / "out"
    outcome = phoneme_moe("grow", sparse.run.folder, *arguments, "--out", out)
    assert outcome.code == 1
    assert problem in outcome.err
    assert outcome.err.strip().count("\n") == 0
    assert not out.exists()


def test_settings_of_sparse_layers_are_refused_behind_a_gate(
    recognized: Trained, high: PreparedCorpus, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome = phoneme_moe(
        "grow", recognized.run.folder, "--corpus", "high", "--epochs", "3", "--out", out
    )
    assert outcome.code == 1
    assert "epochs" in outcome.err
    assert not out.exists()


def test_own_dev_speech_is_below_the_threshold_in_a_twentieth(recognized: Trained) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    served = Served(values, values[:, None])
    assert served.is_bad(badly_served_threshold(served)).mean() == pytest.approx(0.05, abs=2e-3)


def test_log_probabilities_do_not_depend_on_the_batch(
    recognized: Trained, high: PreparedCorpus
) -> None:
    run = load_run(recognized.run.folder)
    examples = find_new_speech(run, "high").train
    together = measure_served(run.recognizer, examples).log_probabilities
    alone = [measure_served(run.recognizer, [e]).log_probabilities[0] for e in examples[:5]]
    np.testing.assert_allclose(together[:5], alone, rtol=1e-4)
    # An utterance that no expert could serve does not count.
    short = replace(examples[0], features=examples[0].features[:2])
    assert not measure_served(run.recognizer, [short]).is_bad(-1e-3).any()


@given(st.integers(1, 4), st.integers(0, 5))
def test_as_many_clusters_as_there_are_groups_far_apart(groups: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    centres = 100 * np.eye(4)[:groups]
    sizes = [40 - 5 * group for group in range(groups)]
    points = np.concatenate(
        [c + random.normal(size=(n, 4)) for c, n in zip(centres, sizes, strict=True)]
    )
    labels = cluster_utterances(points, None, seed)
    expected = [group for group, size in enumerate(sizes) for _ in range(size)]
    if groups > 1:
        assert labels.tolist() == expected
    else:
        assert labels.max() == 0


def test_more_experts_than_utterances_are_refused(
    recognized: Trained, high: PreparedCorpus
) -> None:
    with pytest.raises(ArgumentError, match="expected at most"):
        find_new_speech(load_run(recognized.run.folder), "high", 1000)
    with pytest.raises(InputError, match="at least 1"):
        find_new_speech(load_run(recognized.run.folder), "high", 0)
