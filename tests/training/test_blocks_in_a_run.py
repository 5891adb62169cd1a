"""Gates, experts and objectives that a recipe names, from training to a run folder and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import yaml
from torch import Tensor

import phoneme_moe
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.inference import recognize_examples
from phoneme_moe.mixture.networks import functions
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.run_folder import load_run
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.transcribe import transcribe_file

pytestmark = pytest.mark.slow

RECOGNIZE = tiny.RECIPES / "tiny_recognize.yaml"
CLASSIFY = tiny.RECIPES / "tiny_classify.yaml"
EXPERTS = "{name: experts, train: [experts], route: speaker, epochs: 10, learning_rate: 0.02}"
WAVEFORM = torch.randn(2, 6000, generator=torch.Generator().manual_seed(0))
NUM_SAMPLES = torch.tensor([6000, 4500])


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    for role, known in functions._REGISTERED.items():
        monkeypatch.setitem(functions._REGISTERED, role, dict(known))


def stages(*others: str) -> str:
    return f"training.stages=[{', '.join([EXPERTS, *others])}]"


def assert_comes_back(trained: Trained) -> None:
    """The run folder alone gives the same answers bit for bit."""
    loaded, trained_one = load_run(trained.run.folder).recognizer, trained.run.recognizer
    expert = torch.tensor([0, 1]) if loaded.gate_is_speaker else None
    sound = sounds(loaded.task.kind)
    found = loaded.recognize_waveforms(*sound, expert)
    expected = trained_one.recognize_waveforms(*sound, expert)
    assert torch.equal(found.log_posteriors, expected.log_posteriors)
    assert torch.equal(found.routing.log_probabilities, expected.routing.log_probabilities)


def sounds(task: str) -> tuple[Tensor, Tensor]:
    """Two utterances, or two tokens."""
    if task == "recognize":
        return WAVEFORM, NUM_SAMPLES
    return WAVEFORM[:, :1200], torch.tensor([1200, 1200])


@pytest.mark.parametrize("path", [RECOGNIZE, CLASSIFY])
def test_a_gate_taught_the_speakers_names_them(
    path: Path, tones: PreparedCorpus, tmp_path: Path
) -> None:
    sid = "{name: sid, train: [gate], objective: speaker, epochs: 30, learning_rate: 0.05}"
    changes = [stages(sid), "corpus.speakers=[ann, bob, carol]", "corpus.held_out_speakers=[]"]
    trained = train(path, tmp_path / "run", changes=changes, device="cpu")
    run = trained.run
    examples = load_examples(run.recipe, tones, "test", run.recognizer, ["ann", "bob", "carol"])
    right = sum(
        int((recognition.routing.loads().argmax(dim=-1) == batch.speaker).sum())
        for batch, recognition in recognize_examples(run.recognizer, examples)
    )
    assert right / len(examples) > 0.9
    rows = [row for row in read_rows(run.folder / "metrics.csv") if row["stage"] == "sid"]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    # The epoch that is kept is the one that named speakers best, whatever the phonemes.
    dev = load_examples(run.recipe, tones, "dev", run.recognizer, ["ann", "bob", "carol"])
    wrong = sum(
        int((recognition.routing.loads().argmax(dim=-1) != batch.speaker).sum())
        for batch, recognition in recognize_examples(run.recognizer, dev)
    )
    least = min(row["dev_speaker_error"] for row in rows)
    assert wrong / len(dev) == pytest.approx(least, abs=1e-5)


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (
            CLASSIFY,
            [
                "model.expert={kind: feed_forward, hidden: [12, 6]}",
                "model.gate={kind: linear, activation: sigmoid}",
                stages(
                    "{name: mse, train: [gate], objective: mse, epochs: 2, learning_rate: 0.01}",
                    "{name: cfm, train: [experts, gate], objective: cfm, epochs: 2, "
                    "learning_rate: 0.01}",
                ),
            ],
        ),
        (
            RECOGNIZE,
            [
                "model.expert={kind: linear, kernel: 5}",
                "model.gate={kind: feed_forward, hidden: [8], activation: sigmoid}",
                "model.combine=product",
                stages("{name: joint, train: [experts, gate], epochs: 2, learning_rate: 0.01}"),
            ],
        ),
        (
            RECOGNIZE,
            [
                "model.functions=[uniform]",
                stages("{name: joint, train: [experts, gate], epochs: 3, learning_rate: 0.01}"),
            ],
        ),
        (
            RECOGNIZE,
            [
                "model.combine=maximum",
                stages(
                    "{name: sid, train: [gate], objective: speaker, epochs: 2, learning_rate: 0.05}"
                ),
            ],
        ),
        (
            RECOGNIZE,
            ["model.combine=vote", "model.gate={kind: fixed, weights: [3, 2, 2]}", stages()],
        ),
        (RECOGNIZE, ["model.gate={kind: function, function: uniform}", stages()]),
        (RECOGNIZE, ["model.gate={kind: speaker}", stages()]),
    ],
)
def test_a_run_of_named_parts_learns_is_reported_and_comes_back(
    path: Path, changes: list[str], tones: PreparedCorpus, tmp_path: Path
) -> None:
    trained = train(path, tmp_path / "run", changes=changes, device="cpu")
    assert trained.evaluation.total.error_rate < 0.8
    for row in read_rows(trained.run.folder / "metrics.csv"):
        assert sum(w for key, w in row.items() if key.startswith("load/")) == pytest.approx(
            1, abs=1e-4
        )
    weights = trained.routing.report.weights
    assert weights.sum(axis=1).tolist() == pytest.approx([1] * len(weights), abs=1e-4)
    assert_comes_back(trained)


def test_a_speaker_gate_asks_each_speakers_own_expert(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    changes = ["model.gate={kind: speaker}", stages()]
    trained = train(RECOGNIZE, tmp_path / "run", changes=changes, device="cpu")
    for index, name in enumerate(trained.run.recognizer.expert_names):
        alone = evaluate(trained.run, expert=name).by_speaker[name]
        assert trained.evaluation.by_speaker[name] == alone
        assert trained.routing.report.weights[index, index] == 1
    examples = load_examples(trained.run.recipe, tones, "test", trained.run.recognizer, ["dan"])
    with pytest.raises(InputError, match=r"speaker dan: model.gate is of kind speaker, and no exp"):
        list(recognize_examples(trained.run.recognizer, examples))
    sound = tones.cuts("test")[0].recording.sources[0].source
    with pytest.raises(InputError, match="the speaker of a recording is not known"):
        transcribe_file(RunEngine(trained.run), sound)


def test_functions_of_a_run_must_be_registered_where_it_is_used(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    changes = ["model.gate={kind: function, function: first}", stages()]
    with pytest.raises(InputError, match=r"model.gate.function: found 'first', which is not reg"):
        train(RECOGNIZE, tmp_path / "run", changes=changes, device="cpu")
    assert not (tmp_path / "run").exists()
    phoneme_moe.register_gate("first", lambda features, mask: torch.tensor([9.0, 0.0, 0.0]))
    trained = train(RECOGNIZE, tmp_path / "run", changes=changes, device="cpu")
    assert trained.routing.report.weights.argmax(axis=1).tolist() == [0, 0, 0]
    assert_comes_back(trained)
    del functions._REGISTERED["gate"]["first"]
    with pytest.raises(InputError) as caught:
        load_run(tmp_path / "run")
    card = tmp_path / "run" / "model.json"
    assert str(caught.value).startswith(f"{card}: model.gate.function: found 'first'")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["model.gate={kind: fixed, weights: [1, 2]}"], "model.gate.weights: found 2, expected 3"),
        (["model.functions=[ann]"], "model.functions: 'ann' is the name of another expert"),
    ],
)
def test_what_does_not_fit_the_speakers_leaves_no_folder(
    changes: list[str], words: str, tones: PreparedCorpus, tmp_path: Path
) -> None:
    functions.register_expert("ann", functions.uniform)
    with pytest.raises(InputError) as caught:
        train(RECOGNIZE, tmp_path / "run", changes=[*changes, stages()], device="cpu")
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()


NEW = {
    "model": ("functions", "combine"),
    "expert": ("function",),
    "gate": ("function", "activation", "weights"),
    "stage": ("objective", "optimizer"),
}


def forget_new_keys(recipe: dict[str, Any]) -> None:
    """What a recipe or model card of before these parts had names has not got."""
    for key in NEW["model"]:
        del recipe["model"][key]
    for part in ("expert", "gate"):
        for key in NEW[part]:
            del recipe["model"][part][key]
    for stage in recipe.get("training", {}).get("stages", ()):
        for key in NEW["stage"]:
            del stage[key]


@pytest.mark.parametrize("kind", ["recognized", "classified"])
def test_a_run_of_before_these_parts_had_names_still_loads(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    trained: Trained = request.getfixturevalue(kind)
    folder = Path(shutil.copytree(trained.run.folder, tmp_path / "run"))
    card = json.loads((folder / "model.json").read_text())
    forget_new_keys(card)
    (folder / "model.json").write_text(json.dumps(card))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    forget_new_keys(recipe)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    old = load_run(folder)
    assert old.recipe == trained.run.recipe
    sound = sounds(old.recipe.task.kind)
    found = old.recognizer.recognize_waveforms(*sound)
    expected = trained.run.recognizer.recognize_waveforms(*sound)
    assert torch.equal(found.log_posteriors, expected.log_posteriors)
