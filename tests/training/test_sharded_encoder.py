"""A fine-tuned pretrained encoder whose weights are sharded over processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny
import torch
from encoders import HIDDEN, write_encoder
from gloo_ranks import RANKS, on_two_ranks
from test_ranks import assert_close, command, killed
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from waiting import run

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.model.front_end import pin_encoders
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.pipeline import train, train_together
from phoneme_moe.recipe import load_recipe
from phoneme_moe.system.ranks import stepping_together
from phoneme_moe.training import sharded_encoder
from phoneme_moe.training.optimizers import build_optimizer
from phoneme_moe.training.sharded_encoder import encoder_sharded, reshard
from phoneme_moe.training.spread import clip_gradients, keep_from_averaging

if TYPE_CHECKING:
    from conftest import Outcome

pytest.importorskip("transformers", reason="needs transformers (extra pretrained)")

RECIPE = tiny.RECIPES / "tiny_sparse.yaml"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoders") / "whisper", "whisper")


@pytest.fixture(scope="module")
def changes(encoder: Path) -> list[str]:
    return fine_tuning(encoder)


def fine_tuning(encoder: Path, num_experts: int = 1) -> list[str]:
    """Changes of the recipe: nothing random, and weights inside the encoder are trained."""
    features = {"kind": "pretrained", "model": str(encoder), "layers": "last", "stack": 2}
    # First nothing but shards is trained.
    inside = {"name": "inside", "train": ["experts"], "epochs": 1, "learning_rate": 0.003}
    joint = {**inside, "name": "joint", "train": ["experts", "encoder"], "epochs": 2}
    return [
        f"features={json.dumps(features)}",
        "model.encoder.sparse=null",
        "model.encoder.dropout=0",
        f"model.adapters={{num_experts: {num_experts}, rank: full}}",
        "training.augmentation={}",
        "training.timing=null",
        "corpus.max_utterances=8",
        f"training.stages={json.dumps([inside, joint])}",
    ]


@pytest.fixture(scope="module")
def alone(
    tones: PreparedCorpus, changes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "alone"
    return train(RECIPE, folder, changes=changes, device="cpu").run.folder


def test_shards_learn_as_one_process_does(alone: Path, changes: list[str], tmp_path: Path) -> None:
    done = run(command(RECIPE, tmp_path / "run", changes, "--devices", "2", "--shard-encoder"))
    assert done.returncode == 0, done.stderr
    assert_close(tmp_path / "run", alone, of_weights=1e-5)


def test_a_checkpoint_of_shards_is_whole(alone: Path, changes: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = command(RECIPE, folder, changes, "--devices", "2", "--shard-encoder")
    killed(words, folder / "metrics.csv", rows=2)
    train(RECIPE, folder, changes=changes, device="cpu", resume=True)
    assert_close(folder, alone, of_weights=1e-5)


LENGTHS = ((20, 20), (30, 17))
"""Frames of the utterances of each rank, which run through the encoder once or twice."""


def batch(lengths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Inputs of the encoder and their mask; an utterance depends on its length and place."""
    longest = max(lengths)
    inputs = torch.zeros(len(lengths), longest, 160)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    for place, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(10 * length + place % 2)
        inputs[place, :length] = torch.randn(length, 160, generator=generator)
    return inputs, mask


class Learner(nn.Module):
    """Experts and the gate of an encoder, with a loss that is a mean over utterances."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__()
        self.recognizer = recognizer

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        assert self.recognizer.adapted is not None
        states, _ = self.recognizer.adapted(inputs, mask)
        return (states.square().sum(dim=(1, 2)) / mask.sum(dim=1)).mean()


def recognizer_with(encoder: Path) -> Recognizer:
    recipe = pin_encoders(load_recipe(RECIPE, fine_tuning(encoder, num_experts=2)))
    torch.manual_seed(0)
    names = ("expert1", "expert2")
    recognizer = Recognizer(recipe.features, recipe.task, recipe.model, ("a", "b"), names)
    recognizer.requires_grad_(False)
    assert recognizer.adapted is not None
    recognizer.adapted.requires_grad_(True)
    for part in (recognizer.adapted.adapters, recognizer.adapted.gate):
        for parameter in part.parameters():
            nn.init.normal_(parameter, std=0.05)
    return recognizer


def steps(learner: Learner, network: nn.Module, lengths: tuple[int, ...], most: float) -> list[int]:
    """Takes three steps; returns how many numbers of experts, gradients and moments are here."""
    (stage,) = load_recipe(RECIPE, ["training.stages.joint.average=0"]).training.stages
    assert learner.recognizer.adapted is not None
    adapters = learner.recognizer.adapted.adapters
    optimizer = build_optimizer(learner, stage)
    numbers: list[int] = []
    for _ in range(3):
        optimizer.zero_grad()
        with stepping_together():
            network(*batch(lengths)).backward()
            reshard(learner)
            clip_gradients(learner, most)
        optimizer.step()
        experts = list(adapters.parameters())
        moments = [optimizer.state[p]["exp_avg"] for p in experts]
        gradients = [p.grad for p in experts if p.grad is not None]
        numbers = [sum(map(local_size, part)) for part in (experts, gradients, moments)]
    return numbers


def local_size(value: Tensor) -> int:
    return value.to_local().numel() if isinstance(value, DTensor) else value.numel()


def compare(encoder: Path, most: float, rank: int) -> None:
    """Compares the weights after three steps on shards with those of one process."""
    torch.set_num_threads(1)
    expected = Learner(recognizer_with(encoder))
    everything = steps(expected, expected, sum(LENGTHS, ()), most)
    found = Learner(recognizer_with(encoder))
    with encoder_sharded(found.recognizer, "cpu"):
        keep_from_averaging(found)
        network = DistributedDataParallel(found, broadcast_buffers=False)
        own = steps(found, network, LENGTHS[rank], most)
        whole = found.state_dict()
        found.load_state_dict(whole)
    assert own == [number // RANKS for number in everything]
    assert [type(p) for p in found.parameters()] == [type(p) for p in expected.parameters()]
    for name, weight in expected.state_dict().items():
        for state in (whole, found.state_dict()):
            assert not isinstance(state[name], DTensor)
            assert torch.allclose(state[name], weight, rtol=0, atol=1e-5), name
    # The loaded encoder runs with the new weights.
    with torch.no_grad():
        assert found(*batch((9, 11))) == pytest.approx(float(expected(*batch((9, 11)))), rel=1e-4)


def both_norms(encoder: Path, rank: int) -> None:
    for most in (1e9, 0.01):
        compare(encoder, most, rank)


def test_each_process_holds_half_and_learns_the_same(encoder: Path) -> None:
    """Also with a gate, lengths whose number differs between ranks, and clipped gradients."""
    on_two_ranks(partial(both_norms, encoder))


def test_weights_that_cannot_be_divided_are_refused(
    encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded_encoder, "num_ranks", lambda: 5)
    recognizer = recognizer_with(encoder)
    problem = rf"found weights of shape \(2, {HIDDEN}, {HIDDEN}\) .* over 5 processes, expected a"
    with pytest.raises(InputError, match=problem), encoder_sharded(recognizer, "cpu"):
        pass


def test_one_process_has_nothing_to_shard(
    phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = phoneme_moe("train", RECIPE, "--out", tmp_path / "run", "--shard-encoder")
    assert outcome.code == 1
    assert outcome.err == "phoneme-moe: --shard-encoder: found one process, expected several\n"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (None, "found no pretrained encoder that is fine-tuned, expected model.adapters and"),
        (
            "training.stages=[{name: a, train: [encoder], epochs: 1, learning_rate: 1}]",
            "found no pretrained encoder that is fine-tuned",
        ),
        ("training.stages.joint.average=0.9", "training.stages.joint.average: found 0.9, expected"),
    ],
)
def test_training_without_weights_to_shard_is_refused(
    change: str | None,
    problem: str,
    changes: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("phoneme_moe.pipeline.num_ranks", lambda: 2)
    all_changes = [] if change is None else [*changes, change]
    with pytest.raises(InputError, match=f"shard_encoder: {problem}"):
        train_together(
            RECIPE, tmp_path / "run", changes=all_changes, device="cpu", shard_encoder=True
        )
