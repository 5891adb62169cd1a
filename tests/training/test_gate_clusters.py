"""The first gate of experts that are copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from encoders import write_encoder
from torch import nn

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import train
from phoneme_moe.training.gate_clusters import LARGEST_WEIGHT, set_gate


def test_a_gate_separates_clusters() -> None:
    generator = np.random.default_rng(0)
    centres = 3 * generator.standard_normal((4, 8))
    points = np.repeat(centres, 25, axis=0) + generator.standard_normal((100, 8))
    gate = nn.Linear(8, 4)
    set_gate(gate, points, seed=0)
    weights = gate(torch.from_numpy(points).float()).softmax(dim=-1)
    assert float(weights.detach().max(dim=1).values.mean()) == pytest.approx(
        LARGEST_WEIGHT, abs=0.01
    )
    of_group = weights.argmax(dim=1).reshape(4, 25).mode(dim=1).values
    assert sorted(of_group.tolist()) == [0, 1, 2, 3]
    again = nn.Linear(8, 4)
    set_gate(again, points, seed=0)
    assert torch.equal(again.weight, gate.weight)


def changes(tmp_path: Path, num_experts: int, stages: str, rank: str = "4") -> list[str]:
    pytest.importorskip("transformers", reason="needs transformers (extra pretrained)")
    folder = write_encoder(tmp_path / "whisper", "whisper")
    return [
        f"features={{kind: pretrained, model: {folder}, layers: mix, stack: 2}}",
        "model={encoder: {width: 32, hidden: 32, dilations: [1], bottleneck: 16},"
        f" adapters: {{num_experts: {num_experts}, rank: {rank}}}}}",
        "training.augmentation={}",
        f"training.stages={stages}",
        "training.timing=null",
    ]


SHARED = "{name: shared, train: [encoder, experts], route: shared, epochs: 1, learning_rate: 0.01}"
JOINT = "{name: joint, train: [encoder, experts, gate], epochs: 1, learning_rate: 0.01}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stages", "rank"),
    [(f"[{SHARED}, {JOINT}]", "4"), (f"[{JOINT}]", "full")],
    ids=["copies", "full"],
)
def test_copies_become_different_experts(
    tones: PreparedCorpus, tmp_path: Path, stages: str, rank: str
) -> None:
    recipe = tiny.RECIPES / "tiny_sparse.yaml"
    result = train(
        recipe, tmp_path / "run", changes=changes(tmp_path, 2, stages, rank), device="cpu"
    )
    assert result.run.recognizer.adapted is not None
    for adapter in result.run.recognizer.adapted.adapters.values():
        last = list(adapter.parameters())[-1]
        assert not torch.equal(last[0], last[1])


def test_more_experts_than_utterances_are_refused(tones: PreparedCorpus, tmp_path: Path) -> None:
    recipe = tiny.RECIPES / "tiny_sparse.yaml"
    stages = f"[{SHARED}, {JOINT}]"
    with pytest.raises(InputError, match=r"num_experts: found 500 for \d+ training utterances"):
        train(recipe, tmp_path / "run", changes=changes(tmp_path, 500, stages), device="cpu")
