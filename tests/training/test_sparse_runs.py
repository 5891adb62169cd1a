"""Runs with sparse layers: trained, resumed, upcycled, grown, and used by every command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny
import torch
import yaml
from safetensors.torch import load_file, save_file

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.recipe import load_recipe
from phoneme_moe.report.collect.observe import collect_routing
from phoneme_moe.run_folder import LoadedRun, load_run
from phoneme_moe.training.grow import OFFSET, START, grown_recipe, prepare_grown
from phoneme_moe.training.module import remaining_offset
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.transcribe import transcribe_file

if TYPE_CHECKING:
    from conftest import Outcome

SPARSE = tiny.RECIPES / "tiny_sparse.yaml"
WAVEFORM = torch.randn(2, 6000, generator=torch.Generator().manual_seed(0))
NUM_SAMPLES = torch.tensor([6000, 4500])
QUICK = "training.stages.joint.epochs=1"


@pytest.fixture(scope="module")
def sparse(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(SPARSE, tmp_path_factory.mktemp("runs") / "sparse", device="cpu")


def posteriors(run: LoadedRun) -> torch.Tensor:
    with torch.no_grad():
        return run.recognizer.recognize_waveforms(WAVEFORM, NUM_SAMPLES).log_posteriors


def test_a_sparse_run_learns_and_comes_back_from_its_folder(sparse: Trained) -> None:
    assert sparse.evaluation.total.error_rate < 0.2
    loaded = load_run(sparse.run.folder)
    assert torch.equal(posteriors(loaded), posteriors(sparse.run))


def test_metrics_hold_the_health_of_every_router(sparse: Trained) -> None:
    rows = read_rows(sparse.run.folder / "metrics.csv")
    assert len(rows) == 12
    for row in rows:
        for layer in ("block_1", "block_2"):
            for share in ("load", "gradient"):
                shares = [row[f"{layer}/{share}/{i}"] for i in range(4)]
                assert sum(shares) == pytest.approx(1, abs=1e-5)
            assert 0 <= row[f"{layer}/entropy"] <= 1.387
            assert row[f"{layer}/dropped"] == 0
            mean = 1 / 4
            loads = torch.tensor([row[f"{layer}/load/{i}"] for i in range(4)])
            expected = float((loads - mean).square().mean().sqrt() / mean)
            assert row[f"{layer}/variation"] == pytest.approx(expected, abs=1e-4)


def test_seconds_of_every_epoch_are_kept_beside(sparse: Trained) -> None:
    rows = read_rows(sparse.run.folder / "seconds.csv")
    assert [row["epoch"] for row in rows] == list(range(12))
    assert all(row["seconds"] > 0 for row in rows)


@pytest.mark.slow
def test_the_stage_ends_with_the_average_of_the_weights(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    made = {
        average: train(
            SPARSE,
            tmp_path / str(average),
            changes=[
                "training.stages.joint.epochs=2",
                "training.stages.joint.keep=last",
                f"training.stages.joint.average={average}",
            ],
            device="cpu",
        )
        for average in (0.0, 0.9)
    }
    last, averaged = (load_file(m.run.folder / "model.safetensors") for m in made.values())
    fresh = load_file(next((tmp_path / "0.9" / "checkpoints").rglob("final.safetensors")))
    key = "encoder.input.weight"
    assert not torch.equal(last[key], averaged[key])
    assert torch.equal(fresh[key], averaged[key])
    # An average of what was passed through lies nearer to it than where it began.
    torch.manual_seed(3)
    assert (averaged[key] - last[key]).norm() < 0.5 * last[key].norm()
    # What selects is not averaged: the biases are steps of the rate.
    bias = averaged["encoder.blocks.0.feed_forward.router.bias.bias"]
    assert torch.allclose(bias / 0.01, (bias / 0.01).round(), atol=1e-4)


def test_a_sparse_run_resumed_ends_with_the_same_weights(
    sparse: Trained, tones: PreparedCorpus, tmp_path: Path
) -> None:
    """Averages, selection biases, health and warnings are taken up where they were."""
    whole = tmp_path / "whole"
    changes = ["training.stages.joint.epochs=4"]
    train(SPARSE, whole, changes=changes, device="cpu")
    # A run stopped after two epochs of four, by an exception that no test helper knows of.
    from phoneme_moe.training import module

    class StopError(Exception):
        pass

    broken = tmp_path / "broken"
    plain = module.StageModule.on_train_epoch_start

    def stop(self: module.StageModule) -> None:
        if self.current_epoch == 2:
            raise StopError
        plain(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.StageModule, "on_train_epoch_start", stop)
        with pytest.raises(StopError):
            train(SPARSE, broken, changes=changes, device="cpu")
    train(SPARSE, broken, resume=True, changes=changes, device="cpu")
    for name in ("model.safetensors", "model.json", "metrics.csv", "evaluation.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name


def test_report_shows_the_layer_that_is_asked_for(
    sparse: Trained, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    folder = sparse.run.folder
    made = {}
    for layer in ("block_1", "block_2"):
        out = tmp_path / layer
        outcome = phoneme_moe("report", folder, "--layer", layer, "--out", out)
        assert outcome.code == 0
        made[layer] = json.loads((out / "routing.json").read_text())
    assert made["block_1"]["experts"] == ["expert_0", "expert_1", "expert_2", "expert_3"]
    assert made["block_1"] != made["block_2"]
    default = phoneme_moe("report", folder, "--out", tmp_path / "default")
    assert default.code == 0
    assert json.loads((tmp_path / "default" / "routing.json").read_text()) == made["block_2"]
    wrong = phoneme_moe("report", folder, "--layer", "block_9")
    assert wrong.code == 1
    assert "no layer 'block_9': found block_1, block_2" in wrong.err


def test_the_table_of_a_layer_is_what_its_router_chose(
    sparse: Trained, tones: PreparedCorpus
) -> None:
    run = sparse.run
    examples = load_examples(run.recipe, tones, "test", run.recognizer)
    table = collect_routing(run.recognizer, examples, "block_1")
    assert table.experts == ("expert_0", "expert_1", "expert_2", "expert_3")
    assert ((table.weights > 0).sum(axis=1) == 2).all()
    assert table.weights.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_transcript_names_the_experts_of_the_last_layer(
    sparse: Trained, tones: PreparedCorpus
) -> None:
    cut = next(iter(tones.cuts("test")))
    transcript = transcribe_file(RunEngine(sparse.run), cut.recording.sources[0].source)
    assert list(transcript.routing) == ["expert_0", "expert_1", "expert_2", "expert_3"]
    assert sum(transcript.routing.values()) == pytest.approx(1, abs=1e-4)


UPCYCLED = [
    "model.encoder.sparse.router={top_k: 1, weigh: before, straight_through: true}",
    "model.encoder.sparse.balance={}",
    "training.stages=[{name: dense, route: shared, train: [encoder], epochs: 6, "
    "learning_rate: 0.01}]",
]


@pytest.mark.slow
def test_an_upcycled_model_says_at_first_what_the_dense_one_said(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    trained = train(SPARSE, tmp_path / "run", changes=UPCYCLED, device="cpu")
    weights = load_file(trained.run.folder / "model.safetensors")
    for name, weight in weights.items():
        if ".experts." in name:
            assert torch.equal(weight, weight[:1].expand_as(weight)), name
    # Equal experts, each counting fully: whom the router asks does not matter.
    said = posteriors(trained.run)
    encoder = trained.run.recognizer.encoder
    assert encoder is not None
    before = [layer.load.argmax() for layer in routings(trained.run)]
    for layer in encoder.sparse_layers:
        layer.router.scores.weight.data.neg_()
    assert [layer.load.argmax() for layer in routings(trained.run)] != before
    assert torch.allclose(posteriors(trained.run), said, atol=1e-5)


def routings(run: LoadedRun) -> list:
    with torch.no_grad():
        return list(run.recognizer.recognize_waveforms(WAVEFORM, NUM_SAMPLES).layers)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["model.encoder.sparse.router={top_k: 1, weigh: before}"],
        ["model.encoder.sparse.router={score: sigmoid}", "model.encoder.sparse.segments=2"],
        ["model.encoder.sparse.router={kind: soft, window: 4}", "model.encoder.sparse.balance={"
         "switch: 0, z: 0}"],
        [
            "model.encoder.sparse.router={sees: utterance, top_k: 3}",
            "model.encoder.sparse.shared=1",
        ],
        ["model.encoder.sparse.router={sees: context, context_frames: 5}"],
    ],
)  # fmt: skip
def test_a_grown_run_says_at_first_what_it_said_before(
    changes: list[str], tones: PreparedCorpus, tmp_path: Path
) -> None:
    trained = train(SPARSE, tmp_path / "run", changes=[QUICK, *changes], device="cpu")
    recipe = prepare_grown(trained.run, tmp_path / "grown", experts=3, epochs=1)
    before = trained.run.recognizer.encoder
    assert before is not None
    number = before.sparse_layers[0].experts.num_experts
    from phoneme_moe.training.stages import build_recognizer

    grown = build_recognizer(recipe, tones).eval()
    grown.load_state_dict(load_file(tmp_path / "grown" / START))
    assert grown.encoder is not None
    for layer in grown.encoder.sparse_layers:
        assert layer.experts.num_experts == number * 7 // 4
    said = grown.recognize_waveforms(WAVEFORM, NUM_SAMPLES)
    assert torch.allclose(said.log_posteriors, posteriors(trained.run), atol=1e-5)
    # The copies are perturbed, or they would learn the same for ever.
    weights = grown.encoder.sparse_layers[0].experts.weight_in.detach()
    assert all(not torch.equal(weights[i], old) for i in range(number, len(weights))
               for old in weights[:number])  # fmt: skip


def test_new_experts_are_let_in_while_a_grown_run_trains_on(
    sparse: Trained, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(sparse.run.folder, run)
    outcome = phoneme_moe("grow", run, "--experts", 2, "--epochs", 6, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    out = tmp_path / "run_grown"
    start, end = (load_file(out / name) for name in (START, "model.safetensors"))
    key = "encoder.blocks.0.feed_forward.router.offset"
    assert start[key].tolist() == [0, 0, 0, 0, OFFSET, OFFSET]
    assert end[key].tolist() == [0] * 6
    grown = load_run(out)
    assert grown.recipe.name == "tiny_sparse_grown"
    assert evaluate(grown).total.error_rate < 0.2
    rows = read_rows(out / "metrics.csv")
    late = [rows[-1][f"block_{block}/load/{i}"] for block in (1, 2) for i in (4, 5)]
    assert max(late) > 0.02
    # The old run is as it was.
    for path in sparse.run.folder.glob("*.*"):
        assert (run / path.name).read_bytes() == path.read_bytes()
    again = phoneme_moe("grow", run, "--experts", 2)
    assert again.code == 1
    assert "not empty" in again.err


@pytest.mark.parametrize(
    ("router", "words"),
    [
        ("{kind: tree, levels: [2, 2]}", "router.kind: tree, whose routing changes"),
        ("{kind: hash}", "router.kind: hash"),
        ("{selection: expert_choice}", "router.selection: expert_choice, in which new"),
    ],
)
def test_routers_that_would_change_at_once_do_not_grow(router: str, words: str) -> None:
    balance = "model.encoder.sparse.balance={switch: 0, z: 0}"
    recipe = load_recipe(SPARSE, [f"model.encoder.sparse.router={router}", balance])
    with pytest.raises(InputError, match=words):
        grown_recipe(recipe, 2, 1, None)


def test_a_run_without_sparse_layers_does_not_grow(
    recognized: Trained, phoneme_moe: Callable[..., Outcome]
) -> None:
    outcome = phoneme_moe("grow", recognized.run.folder, "--experts", 2)
    assert outcome.code == 1
    assert "the run has no sparse layers" in outcome.err


@pytest.mark.slow
def test_one_warning_names_the_setting_when_experts_die(
    tones: PreparedCorpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    register_everybody_to_first()
    changes = [
        "model.encoder.sparse.router={kind: rule, function: first_of_four, top_k: 1}",
        "model.encoder.sparse.balance={switch: 0, z: 0}",
        "training.stages.joint.epochs=3",
    ]
    train(SPARSE, tmp_path / "run", changes=changes, device="cpu")
    said = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert said == [
        "warning: epoch 2: block_1: 3 of 4 experts get less than 10 % of an equal share: the "
        "router has collapsed; change model.encoder.sparse.router.function (first_of_four now)"
    ]


def register_everybody_to_first() -> None:
    from phoneme_moe import register_gate

    register_gate(
        "first_of_four", lambda features, mask: torch.tensor([9.0, 0.0, 0.0, 0.0]).expand(1, 1, 4)
    )


@pytest.mark.slow
def test_routers_see_an_embedding_from_outside(
    tones: PreparedCorpus, tmp_path: Path, phoneme_moe: Callable[..., Outcome]
) -> None:
    names = sorted({cut.supervisions[0].speaker for s in ("train", "dev", "test")
                    for cut in tones.cuts(s)})  # fmt: skip
    file = tmp_path / "speakers.safetensors"
    save_file({name: torch.eye(len(names))[i] for i, name in enumerate(names)}, file)
    changes = [
        QUICK,
        f"model.encoder.sparse.router={{sees: embedding, embedding_size: {len(names)}}}",
        f"corpus.embeddings={file}",
    ]
    trained = train(SPARSE, tmp_path / "run", changes=changes, device="cpu")
    run = trained.run
    examples = load_examples(run.recipe, tones, "test", run.recognizer)
    table = collect_routing(run.recognizer, examples)
    for speaker in range(len(table.speakers)):
        rows = table.weights[table.speaker == speaker]
        assert (rows == rows[0]).all()
    recording = next(iter(tones.cuts("test"))).recording.sources[0].source
    refused = phoneme_moe("transcribe", run.folder, recording)
    assert refused.code == 1
    assert "--embeddings: found none" in refused.err
    own = tmp_path / "own.safetensors"
    save_file({Path(recording).stem: torch.eye(len(names))[0]}, own)
    assert phoneme_moe("transcribe", run.folder, recording, "--embeddings", own).code == 0
    save_file({Path(recording).stem: torch.zeros(2)}, own)
    wrong = phoneme_moe("transcribe", run.folder, recording, "--embeddings", own)
    assert wrong.code == 1
    assert f"found shape 2, expected {len(names)} numbers" in wrong.err


def test_an_utterance_without_an_embedding_is_named(tones: PreparedCorpus, tmp_path: Path) -> None:
    file = tmp_path / "speakers.safetensors"
    save_file({"ann": torch.zeros(3)}, file)
    changes = [
        "model.encoder.sparse.router={sees: embedding, embedding_size: 3}",
        f"corpus.embeddings={file}",
    ]
    with pytest.raises(InputError, match="no vector named"):
        train(SPARSE, tmp_path / "run", changes=changes, device="cpu")


def test_the_sparse_recipe_survives_a_round_trip(tmp_path: Path) -> None:
    recipe = load_recipe(SPARSE)
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(path) == recipe


def test_new_experts_come_in_with_the_bias_that_they_were_copied_with(
    sparse: Trained, tmp_path: Path
) -> None:
    recipe = prepare_grown(sparse.run, tmp_path / "grown", experts=2, epochs=1)
    train(recipe, tmp_path / "grown", resume=True, device="cpu")
    start, end = (load_file(tmp_path / "grown" / name) for name in (START, "model.safetensors"))
    for block in (0, 1):
        key = f"encoder.blocks.{block}.feed_forward.router.bias.bias"
        # They are let in at the last step of the epoch: one change at most, of one rate.
        assert (end[key][4:] - start[key][4:]).abs().max() < 0.011
        assert not torch.equal(end[key][:4], start[key][:4])


def test_new_experts_are_let_in_little_by_little() -> None:
    shares = [remaining_offset(step, 101) for step in (0, 25, 50, 75, 100)]
    assert shares[0] == 1
    assert shares[-1] == 0
    assert shares == sorted(shares, reverse=True)
    # By the middle of the epoch they compete: a score of theirs lacks some two nats.
    assert 1 < OFFSET * shares[2] < 3
