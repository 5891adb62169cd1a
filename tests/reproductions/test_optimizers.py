from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from phoneme_moe_reproductions.optimizers import Loss, evaluate, lbfgs, rprop


def rosenbrock(parameters: Tensor) -> Tensor:
    first, second = parameters[:, :-1], parameters[:, 1:]
    return (100 * (second - first.square()).square() + (1 - first).square()).sum(dim=1)


def bowl(parameters: Tensor, curvature: Tensor, lowest: Tensor) -> Tensor:
    off = parameters - lowest
    return (off[:, None, :] @ curvature @ off[:, :, None])[:, 0, 0] / 2


def bowls(runs: int, size: int, seed: int) -> tuple[Loss, Tensor]:
    """A convex quadratic for each run, and where each has its least."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(runs, size, size, generator=generator, dtype=torch.float64)
    curvature = root @ root.transpose(1, 2) + torch.eye(size)
    lowest = torch.randn(runs, size, generator=generator, dtype=torch.float64)
    return partial(bowl, curvature=curvature, lowest=lowest), lowest


def starts(runs: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return 2 * torch.rand(runs, size, generator=generator, dtype=torch.float64) - 1


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(size=st.integers(1, 6), seed=st.integers(0, 10_000))
def test_both_find_the_least_of_convex_quadratics(size: int, seed: int) -> None:
    loss, lowest = bowls(3, size, seed)
    begin = starts(3, size)
    torch.testing.assert_close(lbfgs(loss, begin, 100).parameters, lowest, atol=1e-5, rtol=0)
    assert bool((loss(rprop(loss, begin, 300)) < 1e-4 * loss(begin) + 1e-6).all())


def test_lbfgs_gets_as_low_on_rosenbrock_as_scipy_with_as_many_evaluations() -> None:
    begin = starts(4, 5)
    state = lbfgs(rosenbrock, begin, 150)
    torch.testing.assert_close(state.loss, rosenbrock(state.parameters))
    for run in range(4):

        def alone(values: list[float]) -> tuple[float, list[float]]:
            here = evaluate(rosenbrock, torch.tensor(values, dtype=torch.float64)[None])
            return float(here.loss), here.gradient[0].tolist()

        theirs = minimize(alone, begin[run].tolist(), jac=True, method="L-BFGS-B")
        assert float(state.loss[run]) <= theirs.fun + 1e-8
        assert state.parameters[run].tolist() == pytest.approx(theirs.x.tolist(), abs=1e-2)


@settings(max_examples=8, deadline=None)
@given(evaluations=st.integers(0, 40))
def test_lbfgs_never_lets_a_loss_rise(evaluations: int) -> None:
    begin = 3 * starts(5, 4)
    before = lbfgs(rosenbrock, begin, evaluations).loss
    after = lbfgs(rosenbrock, begin, evaluations + 1).loss
    assert bool((after <= before).all())
    assert bool((before <= rosenbrock(begin)).all())


def test_lbfgs_survives_steps_into_nowhere() -> None:
    def well(parameters: Tensor) -> Tensor:
        # Not a number from 0 downwards, where the first step goes.
        return (parameters - parameters.log()).sum(dim=1)

    begin = torch.tensor([[0.01, 0.02], [3.0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(
        lbfgs(well, begin, 100).parameters, torch.ones(2, 2).double(), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("method", ["lbfgs", "rprop"])
def test_runs_side_by_side_are_the_runs_alone(method: str) -> None:
    def descend(begin: Tensor) -> Tensor:
        if method == "lbfgs":
            return lbfgs(rosenbrock, begin, 30).parameters
        return rprop(rosenbrock, begin, 30)

    begin = starts(4, 3)
    kept = begin.clone()
    together = descend(begin)
    assert torch.equal(begin, kept)
    for run in range(4):
        torch.testing.assert_close(together[run], descend(begin[run : run + 1])[0])


def test_rprop_steps_as_published_and_shows_every_step() -> None:
    # On a slope that never turns each step is 1.2 times the one before.
    seen: list[Tensor] = []
    last = rprop(lambda p: p.sum(dim=1), torch.zeros(1, 2), 4, watch=lambda p: seen.append(p + 0))
    steps = -torch.stack([torch.zeros(1, 2), *seen]).diff(dim=0)
    expected = 0.01 * 1.2 ** torch.arange(4.0)
    torch.testing.assert_close(steps[:, 0, 0], expected)
    assert torch.equal(seen[-1], last)
