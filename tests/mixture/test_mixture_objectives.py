"""The three errors of Jacobs et al. (1991): worked by hand, and against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from phoneme_moe.mixture.objectives import (
    OBJECTIVES,
    blend_error,
    competitive_error,
    expected_error,
    responsibilities,
)
from phoneme_moe.training.token_objectives import NET_OBJECTIVES


def case(
    seed: int = 0, cases: int = 4, experts: int = 3, outputs: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(cases, experts, generator=generator, dtype=torch.float64)
    values = torch.randn(cases, experts, outputs, generator=generator, dtype=torch.float64)
    targets = torch.randn(cases, outputs, generator=generator, dtype=torch.float64)
    return scores.log_softmax(-1), values, targets


def test_the_three_errors_of_a_case_worked_by_hand() -> None:
    # Target 1; experts say 0 and 2 with proportions 3/4 and 1/4: the blend is 1/2.
    log_weights = torch.tensor([[0.75, 0.25]]).log()
    outputs = torch.tensor([[[0.0], [2.0]]])
    targets = torch.tensor([[1.0]])
    assert blend_error(log_weights, outputs, targets).item() == pytest.approx(0.25)
    assert expected_error(log_weights, outputs, targets).item() == pytest.approx(1.0)
    # Both are one away, whoever is drawn: -log(exp(-1/2)).
    assert competitive_error(log_weights, outputs, targets).item() == pytest.approx(0.5)
    narrow = competitive_error(log_weights, outputs, targets, sigma=0.5).item()
    assert narrow == pytest.approx(2.0)
    near = competitive_error(log_weights, torch.tensor([[[1.0], [9.0]]]), targets).item()
    assert near == pytest.approx(-math.log(0.75), abs=1e-6)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_gradients_are_finite_differences(name: str) -> None:
    log_weights, outputs, targets = case()
    assert torch.autograd.gradcheck(
        OBJECTIVES[name], (log_weights.requires_grad_(), outputs.requires_grad_(), targets)
    )


@pytest.mark.parametrize("sigma", [1.0, 0.25])
def test_the_gradient_of_competition_is_the_responsibility_times_the_residual(sigma: float) -> None:
    log_weights, outputs, targets = case()
    outputs.requires_grad_()
    loss = competitive_error(log_weights, outputs, targets, sigma).sum()
    (gradient,) = torch.autograd.grad(loss, outputs)
    h = responsibilities(log_weights, outputs.detach(), targets, sigma)
    torch.testing.assert_close(h.sum(-1), torch.ones(4, dtype=torch.float64))
    expected = -h[..., None] * (targets[:, None] - outputs.detach()) / sigma**2
    torch.testing.assert_close(gradient, expected)


def test_in_competition_the_best_expert_learns_fastest_by_equation_2_the_heaviest() -> None:
    # Equal proportions; the first expert is nearly right.
    log_weights = torch.tensor([[0.5, 0.5]]).log()
    targets = torch.zeros(1, 1)

    def pulls(objective: str) -> list[float]:
        outputs = torch.tensor([[[0.5], [3.0]]], requires_grad=True)
        loss = OBJECTIVES[objective](log_weights, outputs, targets).sum()
        (gradient,) = torch.autograd.grad(loss, outputs)
        return (gradient.flatten() / torch.tensor([0.5, 3.0])).tolist()

    best, worst = pulls("competitive")
    assert best > 50 * worst
    assert pulls("expected") == pytest.approx([1.0, 1.0])


def test_in_cooperation_an_experts_gradient_follows_the_others_residual() -> None:
    # The first expert is right, the second wrong: the blend drives the first away from the target.
    log_weights = torch.tensor([[0.5, 0.5]]).log()
    outputs = torch.tensor([[[1.0], [3.0]]], requires_grad=True)
    targets = torch.ones(1, 1)
    (gradient,) = torch.autograd.grad(blend_error(log_weights, outputs, targets).sum(), outputs)
    assert gradient[0, 0].item() > 0
    (gradient,) = torch.autograd.grad(
        competitive_error(log_weights, outputs, targets).sum(), outputs
    )
    assert gradient[0, 0].item() == 0


@given(st.integers(0, 10_000))
def test_one_certain_expert_makes_all_three_the_same_and_a_spread_never_costs_less(
    seed: int,
) -> None:
    log_weights, outputs, targets = case(seed)
    # Jensen: the error of the blend is at most the expected error.
    blend = blend_error(log_weights, outputs, targets)
    expected = expected_error(log_weights, outputs, targets)
    assert (blend <= expected + 1e-12).all()
    # And by Jensen for -log: the likelihood of the mixture is at least its experts' geometric mean.
    assert (competitive_error(log_weights, outputs, targets) <= expected / 2 + 1e-12).all()
    certain = torch.full_like(log_weights, -1e4)
    certain[:, 0] = 0.0
    alone = (targets - outputs[:, 0]).square().sum(-1)
    torch.testing.assert_close(blend_error(certain, outputs, targets), alone)
    torch.testing.assert_close(expected_error(certain, outputs, targets), alone)
    torch.testing.assert_close(competitive_error(certain, outputs, targets), alone / 2)


def test_the_objectives_of_nets_worked_by_hand() -> None:
    # The right class says 0.8, the others 0.4 and 0.1.
    outputs, targets = torch.tensor([0.8, 0.4, 0.1]), torch.tensor([1.0, 0.0, 0.0])
    squared = NET_OBJECTIVES["mse"](outputs, targets).item()
    assert squared == pytest.approx(0.2**2 + 0.4**2 + 0.1**2)
    entropy = NET_OBJECTIVES["ce"](outputs, targets).item()
    assert entropy == pytest.approx(-math.log(0.8) - math.log(0.6) - math.log(0.9), rel=1e-5)
    merit = NET_OBJECTIVES["cfm"](outputs, targets).item()
    ahead = [1 / (1 + math.exp(-4 * margin)) for margin in (0.4, 0.7)]
    assert merit == pytest.approx(-sum(ahead) / 2)


@pytest.mark.parametrize("name", sorted(NET_OBJECTIVES))
def test_gradients_of_net_objectives_are_finite_differences(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    outputs = torch.rand(5, 3, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    targets = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 1, 0])).double()
    assert torch.autograd.gradcheck(NET_OBJECTIVES[name], (outputs.requires_grad_(), targets))


def test_the_figure_of_merit_is_content_with_the_right_order() -> None:
    targets = torch.tensor([1.0, 0.0])

    def pull(outputs: list[float], name: str) -> float:
        outputs = torch.tensor(outputs, requires_grad=True)
        (gradient,) = torch.autograd.grad(NET_OBJECTIVES[name](outputs, targets).sum(), outputs)
        return -gradient[0].item()

    # Far on the right side but with low outputs: squared error pulls on, the figure of merit less.
    assert pull([0.55, 0.0], "cfm") < 0.5 * pull([0.3, 0.3], "cfm")
    assert pull([0.55, 0.0], "mse") == pytest.approx(0.9)
