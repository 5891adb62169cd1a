from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.errors import InputError
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.inference import recognize_examples
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.recipe import Recipe, load_recipe
from phoneme_moe.training import em
from phoneme_moe.training.stages import build_recognizer

CHANGES = [
    "features.n_mels=8",
    "features.hop_ms=15",
    "model={num_experts: 3, expert: {kind: linear}, gate: {kind: linear}}",
    "training.stages=[{name: em, train: [experts, gate], optimizer: em, epochs: 6, "
    "weight_decay: 0.01}]",
]
CLASSIFY = tiny.RECIPES / "tiny_classify.yaml"


def setting(tones: PreparedCorpus, *changes: str) -> tuple[Recipe, Recognizer, list[Example]]:
    recipe = load_recipe(CLASSIFY, [*CHANGES, *changes])
    recognizer = build_recognizer(recipe, tones).eval()
    return recipe, recognizer, load_examples(recipe, tones, "train", recognizer)


@pytest.fixture(scope="module")
def trained(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(CLASSIFY, tmp_path_factory.mktemp("em") / "run", changes=CHANGES, device="cpu")


def test_a_recognizer_of_linear_parts_is_a_tree_of_one_gate(tones: PreparedCorpus) -> None:
    _, recognizer, examples = setting(tones)
    tree = em.as_tree(recognizer)
    for batch, recognition in recognize_examples(recognizer, examples[:40]):
        inputs = batch.features.flatten(1).double()
        torch.testing.assert_close(
            recognition.log_posteriors[:, 0].double(),
            tree.log_posteriors(inputs).detach(),
            atol=1e-5,
            rtol=1e-5,
        )
        torch.testing.assert_close(
            recognition.routing.log_weights[:, 0].double(),
            tree.log_leaf_weights(inputs).detach(),
            atol=1e-5,
            rtol=1e-5,
        )


@pytest.mark.slow
@given(seed=st.integers(0, 99))
@settings(max_examples=4)
def test_no_epoch_lowers_the_likelihood_of_the_training_tokens(
    tones: PreparedCorpus, seed: int
) -> None:
    recipe, recognizer, examples = setting(
        tones, f"seed={seed}", "training.stages.em.weight_decay=0"
    )
    epochs = list(em.em_epochs(recognizer, recipe.training.stages[0], examples, examples[:10]))
    losses = [epoch["loss"] for epoch in epochs]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(losses))
    assert losses[-1] < losses[0] / 2
    for epoch in epochs:
        assert sum(w for key, w in epoch.items() if key.startswith("load/")) == pytest.approx(1)


def test_what_the_last_epoch_measured_is_what_the_model_then_does(tones: PreparedCorpus) -> None:
    recipe, recognizer, examples = setting(tones)
    *_, last = em.em_epochs(recognizer, recipe.training.stages[0], examples, examples)
    wrong = 0
    loads = []
    for batch, recognition in recognize_examples(recognizer, examples):
        wrong += int((recognition.log_posteriors[:, 0].argmax(-1) != batch.targets[:, 0]).sum())
        loads.append(recognition.routing.weights[:, 0])
    assert last["dev_error"] == pytest.approx(wrong / len(examples))
    found = [last[f"load/{name}"] for name in recognizer.expert_names]
    assert found == pytest.approx(torch.cat(loads).mean(dim=0).tolist(), abs=1e-4)


def test_a_stage_of_em_leaves_what_other_stages_leave(trained: Trained) -> None:
    folder = trained.run.folder
    rows = read_rows(folder / "metrics.csv")
    assert [(row["stage"], row["epoch"]) for row in rows] == [("em", n) for n in range(6)]
    for row in rows:
        assert set(row) == {"stage", "epoch", "dev_error", "loss"} | {
            f"load/expert_{index}" for index in range(3)
        }
    final = load_file(folder / "checkpoints" / "1_em" / "final.safetensors")
    model = load_file(folder / "model.safetensors")
    assert model.keys() <= final.keys()
    assert all(torch.equal(final[name], w) for name, w in model.items())
    assert list((folder / "tensorboard" / "1_em").glob("events*"))
    assert trained.evaluation.total.error_rate < 0.4


def test_it_is_done_again_after_a_kill_and_ends_the_same(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    again = train(CLASSIFY, folder, changes=CHANGES, device="cpu")
    (folder / "checkpoints" / "1_em" / "final.safetensors").unlink()
    (folder / "model.json").unlink()
    train(CLASSIFY, folder, changes=CHANGES, device="cpu", resume=True)
    for name in ("model.safetensors", "metrics.csv", "model.json"):
        expected = (trained.run.folder / name).read_bytes()
        assert (again.run.folder / name).read_bytes() == expected, name


@pytest.mark.slow
def test_it_goes_on_from_the_stage_before(tones: PreparedCorpus, tmp_path: Path) -> None:
    stages = (
        "training.stages=[{name: gradient, train: [experts, gate], epochs: 2, learning_rate: 0.01, "
        "keep: last}, {name: em, train: [experts, gate], optimizer: em, epochs: 1}]"
    )
    run = train(CLASSIFY, tmp_path / "run", changes=[*CHANGES, stages], device="cpu").run
    rows = read_rows(run.folder / "metrics.csv")
    assert [row["stage"] for row in rows] == ["gradient", "gradient", "em"]
    recipe, recognizer, _ = setting(tones, stages)
    recognizer.load_state_dict(
        load_file(run.folder / "checkpoints" / "1_gradient" / "final.safetensors")
    )
    train_examples = load_examples(recipe, tones, "train", recognizer, ["ann", "bob", "carol"])
    (epoch,) = em.em_epochs(recognizer, recipe.training.stages[1], train_examples, train_examples)
    assert rows[-1]["loss"] == pytest.approx(epoch["loss"], rel=1e-9)


def test_more_than_fits_in_memory_is_refused(
    tones: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, recognizer, examples = setting(tones)
    monkeypatch.setattr(em, "LARGEST_BYTES", 1 << 20)
    with pytest.raises(InputError, match=r"training.stages.em: optimizer: em on \d+ tokens of 80"):
        next(em.em_epochs(recognizer, recipe.training.stages[0], examples, examples))
