"""Experts for new speech that a run serves badly."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from waiting import communicate, wait_until

from phoneme_moe.corpora import PreparedCorpus, load_corpus, prepare_corpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.decoding.ctc_crf import ORDER
from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.inference import recognize_examples
from phoneme_moe.model.growth import GrowthDocument
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.run_folder import load_run
from phoneme_moe.training import new_speaker
from phoneme_moe.training.adapt import old_examples
from phoneme_moe.training.growth_checkpoint import CHECKPOINT
from phoneme_moe.training.new_speaker import add_speaker_expert, routing_change, train_gate
from phoneme_moe.training.new_speech import find_new_speech
from phoneme_moe.training.objectives import CTC_WEIGHT, crf_loss
from phoneme_moe.training.underserved import (
    Served,
    badly_served_threshold,
    cluster_utterances,
    measure_served,
    trigram_of,
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
    assert document.new.after <= document.new.before
    assert document.old.after <= document.old.before + 0.1
    assert f"{document.badly_served} of {document.utterances} training utterances" in outcome.out
    assert any(expert.new > expert.old for expert in document.experts)
    old, new = load_run(run).recognizer, load_run(outs[0]).recognizer
    after = new.state_dict()
    for name, before in old.named_parameters():
        if not name.startswith("gate."):  # all of which is trained
            assert torch.equal(before, after[name][: len(before)] if before.ndim else after[name])
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


def test_the_gate_learns_the_new_speech_and_keeps_the_routing_of_the_old(
    recognized: Trained, high: PreparedCorpus, tones: PreparedCorpus
) -> None:
    run = load_run(recognized.run.folder)
    old, _ = old_examples(run, tones)
    bad = find_new_speech(run, "high").badly_served
    before = run.recognizer
    after = add_speaker_expert(run, "eve", bad)

    def served() -> float:
        return float(measure_served(after, bad).log_probabilities.mean())

    # At its start the new expert has little of an otherwise unchanged routing.
    assert 0 <= routing_change(before, after, old).item() < 0.05
    assert routing_change(before, before, old).item() == pytest.approx(0, abs=1e-6)
    first = served()
    train_gate(after, bad, old, 0, before)
    kept, gained = routing_change(before, after, old).item(), served() - first
    assert gained > 0
    assert kept < 0.2
    # Without the routing of old speech in the loss, it changes more.
    free = add_speaker_expert(run, "eve", bad)
    train_gate(free, bad, [], 0)
    assert kept < routing_change(before, free, old).item()


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """A shell starts what runs in its background deaf to interrupts, which processes inherit."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("heeding_interrupts")
def test_an_interrupted_training_of_sparse_experts_goes_on_to_the_same_weights(
    sparse: Trained, high: PreparedCorpus, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"

    def command(to: Path) -> list[str]:
        arguments = ["grow", str(sparse.run.folder), "--corpus", "high", "--epochs", "60"]
        return [*arguments, "--device", "cpu", "--out", str(to)]

    process = subprocess.Popen(
        [sys.executable, "-m", "phoneme_moe", *command(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((out / CHECKPOINT).exists, process)
    process.send_signal(signal.SIGINT)
    _, err = communicate(process)
    assert process.returncode == 130
    hint = shlex.join(["phoneme-moe", *command(out)])
    assert err.strip() == f"interrupted by SIGINT; go on with: {hint}"
    assert [path.name for path in out.iterdir()] == [CHECKPOINT]
    # By another command it is neither continued nor lost.
    before = (out / CHECKPOINT).read_bytes()
    outcome = phoneme_moe(*command(out), "--learning-rate", "0.1")
    assert outcome.code == 1
    assert outcome.err.strip().count("\n") == 0
    assert f"{CHECKPOINT}: found the checkpoint of a training with other settings" in outcome.err
    assert (out / CHECKPOINT).read_bytes() == before
    for folder in (out, whole):
        outcome = phoneme_moe(*command(folder))
        assert outcome.code == 0, outcome.err
    assert not (out / CHECKPOINT).exists()
    resumed, expected = (load_run(folder).recognizer.state_dict() for folder in (out, whole))
    assert all(torch.equal(weight, resumed[name]) for name, weight in expected.items())
    assert GrowthDocument.read(out / "growth.json") == GrowthDocument.read(whole / "growth.json")


def test_a_damaged_checkpoint_is_refused_in_a_line(
    sparse: Trained, high: PreparedCorpus, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / CHECKPOINT).write_bytes(b"PK" * 40)
    outcome = phoneme_moe("grow", sparse.run.folder, "--corpus", "high", "--out", out)
    assert outcome.code == 1
    assert f"{CHECKPOINT}: not readable as a checkpoint" in outcome.err
    assert outcome.err.strip().count("\n") == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_in_a_line(
    recognized: Trained, high: PreparedCorpus, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome = phoneme_moe(
        "grow", recognized.run.folder, "--corpus", "high", "--device", "cuda", "--out", out
    )
    assert outcome.code == 1
    assert outcome.err == (
        "phoneme-moe: --device: found cuda, but there is no CUDA device here; expected cpu\n"
    )
    assert not out.exists()


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
        (["--corpus", "high", "--logger", "wandb"], "grow: found --logger with --corpus"),
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


def test_a_run_trained_by_crf_is_measured_by_what_it_was_trained_for(
    sparse: Trained, high: PreparedCorpus
) -> None:
    run = load_run(sparse.run.folder)
    assert trigram_of(run) is None
    recognizer = run.recognizer
    (example,) = load_examples(run.recipe, high, "train", recognizer)[:1]
    ngram = PhonemeNgram.estimate([example.phonemes], recognizer.phonemes.symbols, ORDER)
    training = run.recipe.training
    stages = (*training.stages[:-1], training.stages[-1].model_copy(update={"objective": "crf"}))
    recipe = run.recipe.model_copy(
        update={"training": training.model_copy(update={"stages": stages})}
    )
    trigram = trigram_of(replace(run, recipe=recipe, decoding=Decoding(language_model=ngram)))
    assert trigram is not None
    by_crf = measure_served(recognizer, [example], trigram).log_probabilities[0]
    by_ctc = measure_served(recognizer, [example]).log_probabilities[0]
    ((batch, recognition),) = recognize_examples(recognizer, [example])
    loss = crf_loss(recognition, batch, trigram).item()
    assert by_crf + CTC_WEIGHT * by_ctc == pytest.approx(-loss, rel=1e-5)
    assert by_crf < 0


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
