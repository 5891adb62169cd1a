"""Muon against ``torch.optim.Muon`` and AdamW against ``torch.optim.AdamW``."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interruptible import run_once
from torch import nn

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import train
from phoneme_moe.recipe import Stage, load_recipe
from phoneme_moe.training.optimizers import MuonAdamW, build_optimizer, orthogonalize
from phoneme_moe.training.stages import build_recognizer

SPARSE = tiny.RECIPES / "tiny_sparse.yaml"
MUON = "training.stages.joint.optimizer=muon"
SETTINGS = {"lr": 0.01, "weight_decay": 0.1}


def random_steps(
    optimizers: list[torch.optim.Optimizer], parameters: list[list[nn.Parameter]]
) -> None:
    """Three steps with the same random gradients of all copies of the parameters."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for copies in zip(*parameters, strict=True):
            gradient = torch.randn(copies[0].shape, generator=generator)
            for parameter in copies:
                parameter.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 5)])
def test_a_matrix_is_updated_as_by_torchs_muon(shape: tuple[int, int]) -> None:
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    muon = torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **SETTINGS)
    groups = [{"params": [ours], "orthogonal": True}]
    random_steps([MuonAdamW(groups, **SETTINGS), muon], [[ours], [theirs]])
    # Rounding of bfloat16 differs: 1 % of an update.
    torch.testing.assert_close(ours, theirs, atol=3e-4, rtol=0)
    assert (ours - start).abs().mean() > 0.003


def test_stacked_matrices_are_updated_one_by_one() -> None:
    start = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0))
    stacked = nn.Parameter(start.clone())
    single = [nn.Parameter(matrix.clone()) for matrix in start]
    generator = torch.Generator().manual_seed(1)
    optimizers = [
        MuonAdamW([{"params": params, "orthogonal": True}], **SETTINGS)
        for params in ([stacked], single)
    ]
    for _ in range(3):
        stacked.grad = torch.randn(stacked.shape, generator=generator)
        for parameter, gradient in zip(single, stacked.grad.clone(), strict=True):
            parameter.grad = gradient
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(stacked, torch.stack(single), atol=3e-4, rtol=0)


def test_other_parameters_are_updated_as_by_adamw() -> None:
    start = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    ours, theirs, matrix = (nn.Parameter(start.clone()) for _ in range(3))
    groups = [{"params": [ours]}, {"params": [matrix], "orthogonal": True}]
    both = MuonAdamW(groups, fused=True, **SETTINGS)
    adamw = torch.optim.AdamW([theirs], fused=True, **SETTINGS)
    random_steps([both, adamw], [[ours, matrix], [theirs, nn.Parameter(start.clone())]])
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, matrix)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99), st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_orthogonalizing_keeps_directions_and_brings_singular_values_near_one(
    rows: int, columns: int, seed: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(rows, rows, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(columns, columns, generator=generator)).Q
    size = min(rows, columns)
    values = scale * (0.2 + 0.8 * torch.rand(size, generator=generator))
    matrix = left[:, :size] * values @ right[:, :size].T
    answer = orthogonalize(matrix[None])[0]
    found = left[:, :size].T @ answer @ right[:, :size]
    diagonal = found.diagonal()
    assert ((diagonal > 0.6) & (diagonal < 1.3)).all()
    assert (found - torch.diag(diagonal)).abs().max() < 0.1


def test_a_zero_gradient_makes_no_update() -> None:
    assert not orthogonalize(torch.zeros(2, 3, 4)).any()


def test_muon_has_the_matrices_of_blocks_and_their_experts(tones: PreparedCorpus) -> None:
    recipe = load_recipe(SPARSE, [MUON])
    recognizer = build_recognizer(recipe, tones)
    stage = recipe.training.stages[0]
    others, matrices = build_optimizer(recognizer, stage).param_groups
    names = {p: name for name, p in recognizer.named_parameters()}
    chosen = sorted(names[p].removeprefix("encoder.blocks.0.") for p in matrices["params"])
    first = [name for name in chosen if not name.startswith("encoder")]
    assert first == [
        "feed_forward.experts.weight_in",
        "feed_forward.experts.weight_out",
        "narrow.weight",
        "widen.weight",
    ]
    rest = {names[p] for p in others["params"]}
    assert {"encoder.input.weight", "encoder.output.weight"} <= rest
    assert len(rest) + len(chosen) == len(names)


def test_frozen_parameters_have_no_optimizer() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    stage = Stage(name="joint", epochs=1, learning_rate=0.1)
    (group,) = build_optimizer(net, stage).param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in net[1].parameters()}


@pytest.mark.slow
def test_a_run_with_muon_learns_and_resumes_as_if_uninterrupted(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    text = SPARSE.read_text().replace("epochs: 12,", "epochs: 12, optimizer: muon,")
    recipe = tmp_path / "muon.yaml"
    recipe.write_text(text)
    trained = train(recipe, tmp_path / "whole", device="cpu")
    assert trained.evaluation.total.error_rate < 0.2
    assert run_once(recipe, tmp_path / "killed", 12, True) != 0
    assert run_once(recipe, tmp_path / "killed", None, True) == 0
    for name in ("model.safetensors", "metrics.csv"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "killed" / name).read_bytes() == whole


def test_a_model_without_an_encoder_has_no_muon() -> None:
    with pytest.raises(InputError, match=r"optimizer: muon is for an encoder \(model.encoder\)"):
        load_recipe(
            tiny.RECIPES / "tiny_recognize.yaml", ["training.stages.experts.optimizer=muon"]
        )
