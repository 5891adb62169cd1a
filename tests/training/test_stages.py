from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch import Tensor

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.batches import collate
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.decoding.scoring import score_utterance
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.files.metrics_file import read_rows, write_rows
from phoneme_moe.inference import decode_phonemes
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.recipe import load_recipe
from phoneme_moe.training.module import StageModule
from phoneme_moe.training.stages import build_recognizer

RECOGNIZE = tiny.RECIPES / "tiny_recognize.yaml"
CLASSIFY = tiny.RECIPES / "tiny_classify.yaml"
QUICK = ["training.stages.experts.epochs=1", "training.stages.gate.epochs=1"]
CALM = ["model.expert.dropout=0", "training.augmentation={}"]


def part(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: w for key, w in weights.items() if key.startswith(f"{name}.")}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["recognize", "classify"])
def test_a_stage_changes_what_it_trains_and_leaves_the_rest_bit_for_bit(
    kind: str, request: pytest.FixtureRequest, tones: PreparedCorpus
) -> None:
    trained: Trained = request.getfixturevalue({"recognize": "recognized"}.get(kind, "classified"))
    checkpoints = trained.run.folder / "checkpoints"
    fresh = build_recognizer(trained.run.recipe, tones).state_dict()
    experts = load_file(checkpoints / "1_experts" / "final.safetensors")
    gate = load_file(checkpoints / "2_gate" / "final.safetensors")
    assert same(part(experts, "gate"), part(fresh, "gate"))
    assert not same(part(experts, "experts"), part(fresh, "experts"))
    assert same(part(gate, "experts"), part(experts, "experts"))
    assert not same(part(gate, "gate"), part(experts, "gate"))
    if kind == "recognize":
        joint = load_file(checkpoints / "3_joint" / "final.safetensors")
        for name in ("experts", "gate"):
            assert not same(part(joint, name), part(gate, name))


def test_training_teaches(recognized: Trained, classified: Trained) -> None:
    assert recognized.evaluation.total.error_rate < 0.7
    assert classified.evaluation.total.error_rate < 0.4
    for trained in (recognized, classified):
        with (trained.run.folder / "metrics.csv").open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        assert losses[-1] < losses[0] / 2


def test_metrics_have_a_row_for_each_epoch_of_every_stage(recognized: Trained) -> None:
    rows = read_rows(recognized.run.folder / "metrics.csv")
    stages = recognized.run.recipe.training.stages
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        (stage.name, epoch) for stage in stages for epoch in range(stage.epochs)
    ]
    for row in rows:
        loads = [row[f"load/{name}"] for name in ("ann", "bob", "carol")]
        assert sum(loads) == pytest.approx(1, abs=1e-4)
        assert row["dev_error"] >= 0
        assert 0 < row["learning_rate"] <= 0.01


def test_metrics_are_written_back_as_they_were_read(recognized: Trained, tmp_path: Path) -> None:
    path = recognized.run.folder / "metrics.csv"
    write_rows(tmp_path / "again.csv", read_rows(path))
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()


def error_rate(
    trained: Trained, stage: str, examples: Sequence[Example], by_speaker: bool
) -> float:
    recognizer = trained.run.recognizer
    before = {name: w.clone() for name, w in recognizer.state_dict().items()}
    folder = trained.run.folder / "checkpoints" / stage
    recognizer.load_state_dict(load_file(folder / "final.safetensors"), strict=False)
    names = {name: index for index, name in enumerate(recognizer.expert_names)}
    errors = phonemes = 0
    with torch.no_grad():
        for example in examples:
            batch = collate([example], recognizer, names)
            found = recognizer(batch.features, batch.mask, batch.speaker if by_speaker else None)
            heard = decode_phonemes(recognizer, found)[0]
            score = score_utterance(example.phonemes, heard)
            errors += score.errors
            phonemes += score.num_reference
    recognizer.load_state_dict(before, strict=False)
    return errors / phonemes


def test_a_stage_ends_with_its_best_or_its_last_weights(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    run = recognized.run
    dev = load_examples(run.recipe, tones, "dev", run.recognizer, ["ann", "bob", "carol"])
    rows = read_rows(run.folder / "metrics.csv")
    errors = {
        stage: [row["dev_error"] for row in rows if row["stage"] == stage]
        for stage in ("experts", "gate", "joint")
    }
    best = error_rate(recognized, "1_experts", dev, by_speaker=True)
    assert best == pytest.approx(min(errors["experts"]), abs=1e-5)
    last = error_rate(recognized, "2_gate", dev, by_speaker=False)
    assert last == pytest.approx(errors["gate"][-1], abs=1e-5)
    best = error_rate(recognized, "3_joint", dev, by_speaker=False)
    assert best == pytest.approx(min(errors["joint"]), abs=1e-5)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_padding_changes_neither_loss_nor_gradient(tones: PreparedCorpus, stage: int) -> None:
    recipe = load_recipe(RECOGNIZE, CALM)
    results = []
    for padding in (0, 30):
        recognizer = build_recognizer(recipe, tones)
        examples = load_examples(recipe, tones, "dev", recognizer, ["ann", "bob", "carol"])
        module = StageModule(recognizer, recipe, stage)
        batch = collate(examples, recognizer, {"ann": 0, "bob": 1, "carol": 2})
        features = torch.nn.functional.pad(batch.features, (0, 0, 0, padding))
        mask = torch.nn.functional.pad(batch.mask, (0, padding))
        recognition = module.recognize(batch, features, mask)
        loss = module.loss(recognition, batch)
        loss.backward()
        gradients = {n: p.grad for n, p in recognizer.named_parameters() if p.grad is not None}
        results.append((loss.detach(), gradients))
    (loss, gradients), (padded_loss, padded_gradients) = results
    torch.testing.assert_close(padded_loss, loss, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == padded_gradients.keys()
    trained = {name.split(".")[0] for name in gradients}
    assert trained == set(recipe.training.stages[stage].train)
    for name, gradient in gradients.items():
        torch.testing.assert_close(padded_gradients[name], gradient, atol=1e-4, rtol=1e-3)


def test_each_speaker_teaches_his_own_expert_only(tones: PreparedCorpus) -> None:
    recipe = load_recipe(RECOGNIZE, CALM)
    recognizer = build_recognizer(recipe, tones)
    module = StageModule(recognizer, recipe, 0)
    examples = load_examples(recipe, tones, "dev", recognizer, ["carol"])
    batch = collate(examples, recognizer, {"ann": 0, "bob": 1, "carol": 2})
    module.training_step(batch, 0).backward()
    for parameter in recognizer.experts.parameters():
        learnt = parameter.grad.flatten(1).abs().amax(dim=1) > 0
        assert learnt.tolist() == [False, False, True]
    assert module.load.tolist() == [0, 0, 1]


def test_the_same_recipe_makes_the_same_weights_byte_for_byte(
    classified: Trained, tmp_path: Path
) -> None:
    again = train(classified.run.recipe, tmp_path / "again", device="cpu")
    for name in ("model.safetensors", "model.json", "recipe.yaml", "metrics.csv"):
        assert (again.run.folder / name).read_bytes() == (
            classified.run.folder / name
        ).read_bytes(), name
    assert again.evaluation == classified.evaluation


@pytest.mark.slow
def test_another_seed_makes_other_weights(tones: PreparedCorpus, tmp_path: Path) -> None:
    made = [
        train(CLASSIFY, tmp_path / str(seed), changes=[*QUICK, f"seed={seed}"], device="cpu")
        for seed in (1, 2)
    ]
    one, other = ((m.run.folder / "model.safetensors").read_bytes() for m in made)
    assert one != other


@pytest.mark.slow
def test_one_expert_without_a_gate_is_trained_too(tones: PreparedCorpus, tmp_path: Path) -> None:
    path = tmp_path / "pooled.yaml"
    path.write_text(
        "name: pooled\ncorpus: {name: tones}\nfeatures: {sample_rate: 8000, n_mels: 16}\n"
        "task: {kind: recognize}\nmodel: {expert: {width: 8, dilations: [1]}}\n"
        "training:\n  stages:\n"
        "    - {name: all, epochs: 1, learning_rate: 0.01, schedule: constant}\n"
    )
    trained = train(path, tmp_path / "run", device="cpu")
    assert trained.run.recognizer.gate is None
    assert trained.run.recognizer.expert_names == ("expert_0",)
    assert sorted(trained.evaluation.by_speaker) == ["ann", "bob", "carol", "dan"]
    assert trained.evaluation.unseen == ()


@pytest.mark.slow
def test_mixed_precision_trains_a_usable_run(tones: PreparedCorpus, tmp_path: Path) -> None:
    changes = [*QUICK, "training.stages.joint.epochs=1", "training.precision=bf16-mixed"]
    trained = train(RECOGNIZE, tmp_path / "run", changes=changes, device="cpu")
    weights = load_file(trained.run.folder / "model.safetensors")
    assert all(w.dtype == torch.float32 and w.isfinite().all() for w in weights.values())


@pytest.mark.slow
def test_after_a_shared_stage_all_experts_are_the_one_that_everybody_taught(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    stages = "[{name: all, route: shared, epochs: 2, learning_rate: 0.01}]"
    shared = train(
        RECOGNIZE, tmp_path / "shared", changes=[f"training.stages={stages}"], device="cpu"
    )
    weights = load_file(shared.run.folder / "model.safetensors")
    for name, weight in part(weights, "experts").items():
        assert torch.equal(weight, weight[:1].expand_as(weight)), name
    fresh = build_recognizer(shared.run.recipe, tones).state_dict()
    assert same(part(weights, "gate"), part(fresh, "gate"))
    lone = load_file(shared.run.folder / "checkpoints" / "1_all" / "final.safetensors")
    assert same(part(lone, "experts"), {n: w[:1] for n, w in part(weights, "experts").items()})
    # Equal experts: whom the gate asks does not matter.
    alone = evaluate(shared.run, expert="bob").total
    assert alone.error_rate == pytest.approx(shared.evaluation.total.error_rate, abs=0.05)


def test_a_folder_with_a_run_is_not_overwritten(recognized: Trained) -> None:
    before = (recognized.run.folder / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="already contains a run; add resume=True"):
        train(RECOGNIZE, recognized.run.folder, device="cpu")
    assert (recognized.run.folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("seed=4", "seed: found 4, expected 3"),
        ("training.stages.gate.epochs=9", "training.stages.1.epochs: found 9, expected 4"),
        ("corpus.snr_db=3", "corpus.snr_db: found 3.0, expected None"),
        ("model.expert.width=16", "model.expert.width: found 16, expected 32"),
        ("corpus.speakers=[ann, bob]", "corpus.speakers: found ['ann', 'bob'], expected"),
    ],
)
def test_a_run_is_not_resumed_with_another_recipe(
    recognized: Trained, change: str, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        train(RECOGNIZE, recognized.run.folder, resume=True, changes=[change], device="cpu")
    assert words in str(caught.value)


def test_resuming_a_run_that_has_ended_changes_nothing(recognized: Trained) -> None:
    folder = recognized.run.folder
    names = ("model.safetensors", "model.json", "metrics.csv", "evaluation.json", "recipe.yaml")
    before = {name: (folder / name).read_bytes() for name in names}
    train(RECOGNIZE, folder, resume=True, device="cpu")
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_resuming_leaves_hidden_files_and_folders_of_the_user_alone(
    recognized: Trained, tmp_path: Path
) -> None:
    folder = shutil.copytree(recognized.run.folder, tmp_path / "run")
    mine = [folder / ".gitignore", folder / ".ipynb_checkpoints" / "look.ipynb"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    train(RECOGNIZE, folder, resume=True, device="cpu")
    assert [path.read_text() for path in mine] == ["mine", "mine"]


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match="neither empty nor a run folder"):
            train(RECOGNIZE, tmp_path, resume=resume, device="cpu")
    with pytest.raises(InputError, match="found a file, expected a folder"):
        train(RECOGNIZE, tmp_path / "thesis.txt", device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_does_not_fit_the_corpus_leaves_no_folder(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    for change in ("corpus.speakers=[eve]", "corpus.name=nowhere", "task.phonemes=[zz]"):
        with pytest.raises(InputError):
            train(RECOGNIZE, tmp_path / "run", changes=[change], device="cpu")
        assert not (tmp_path / "run").exists()
