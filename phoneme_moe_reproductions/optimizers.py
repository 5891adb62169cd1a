"""Full-batch optimisation of many small networks side by side, each independent of the others.

A run is one row of a matrix of parameters. Every evaluation of the loss serves all runs: one whose
step was too long tries a shorter one while the others continue.

Legend: R runs, P parameters of a run, K stored steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Loss = Callable[[Tensor], Tensor]
"""From the parameters of all runs, shape (runs, parameters), to their losses, shape (runs,)."""

SUFFICIENT = 1e-4
"""Fraction of the decrease predicted by the slope that a step must reach (Armijo 1966)."""

SHORTEST = 1e-6
"""Below this fraction of the full step the direction is given up."""


@dataclass(frozen=True)
class State:
    """Current point of all runs.

    Attributes:
        parameters: Shape (runs, parameters).
        loss: Shape (runs,).
        gradient: Shape (runs, parameters).
    """

    parameters: Tensor
    loss: Tensor
    gradient: Tensor


def evaluate(loss: Loss, parameters: Tensor) -> State:
    """Loss and gradient of all runs; no run's loss may depend on another's parameters."""
    leaf = parameters.detach().requires_grad_()
    losses = loss(leaf)
    (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    return State(leaf.detach(), losses.detach(), gradient)


def rprop(
    loss: Loss,
    parameters: Tensor,
    evaluations: int,
    watch: Callable[[Tensor], None] = lambda parameters: None,
    first: float = 0.01,
    longest: float = 50.0,
) -> Tensor:
    """Rprop: a step size for each parameter, by the sign of its slope (Riedmiller & Braun 1993).

    The loss may rise for a while.

    Args:
        loss: To be minimised.
        parameters: Starting point, shape (runs, parameters); not changed.
        evaluations: Of the loss, as many steps.
        watch: Called with the parameters after every step.
        first: Length of the first steps.
        longest: No step is longer.

    Returns:
        The last parameters, shape (runs, parameters).
    """
    moving = torch.nn.Parameter(parameters.detach().clone())
    optimizer = torch.optim.Rprop([moving], lr=first, step_sizes=(1e-6, longest))
    for _ in range(evaluations):
        moving.grad = evaluate(loss, moving).gradient
        optimizer.step()
        watch(moving.detach())
    return moving.detach()


def lbfgs(loss: Loss, parameters: Tensor, evaluations: int, memory: int = 20) -> State:
    """Limited-memory BFGS (Liu & Nocedal 1989) with a line search that only ever shortens.

    The loss of no run ever rises. A pair of step and change of gradient without positive curvature
    is not stored; a run whose direction is no descent direction restarts with steepest descent.

    Args:
        loss: To be minimised.
        parameters: Starting point, shape (runs, parameters); not changed.
        evaluations: Of the loss after the first, including those of rejected steps.
        memory: Stored pairs.
    """
    here = evaluate(loss, parameters)
    runs, size = parameters.shape
    steps = parameters.new_zeros(memory, runs, size)  # (K, R, P), latest last
    changes = torch.zeros_like(steps)
    inverse = parameters.new_zeros(memory, runs)  # 1 / (step * change); 0 for an empty pair
    direction = _steepest(here.gradient)
    length = parameters.new_ones(runs)
    for _ in range(evaluations):
        step = length[:, None] * direction
        trial = evaluate(loss, here.parameters + step)
        predicted = _dot(here.gradient, step)
        taken = trial.loss <= here.loss + SUFFICIENT * predicted  # never where it is nan
        change = trial.gradient - here.gradient
        curvature = _dot(step, change)
        positive = taken & (curvature > 1e-8 * _dot(change, change))
        steps = _store(steps, step, positive)
        changes = _store(changes, change, positive)
        inverse = _store(inverse, curvature.clamp(min=1e-30).reciprocal(), positive)
        # Minimum of the parabola through both losses and the slope.
        shorter = -predicted / (2 * (trial.loss - here.loss - predicted))
        here = State(
            torch.where(taken[:, None], trial.parameters, here.parameters),
            torch.where(taken, trial.loss, here.loss),
            torch.where(taken[:, None], trial.gradient, here.gradient),
        )
        newton = _newton_direction(here.gradient, steps, changes, inverse)
        lost = torch.where(taken, _dot(newton, here.gradient) >= 0, length < SHORTEST)
        inverse = inverse.masked_fill(lost, 0)
        newton = torch.where(lost[:, None], _steepest(here.gradient), newton)
        turning = taken | lost
        direction = torch.where(turning[:, None], newton, direction)
        shortened = length * shorter.nan_to_num(0.1).clamp(0.1, 0.5)
        length = torch.where(turning, torch.ones_like(length), shortened)
    return here


def _newton_direction(gradient: Tensor, steps: Tensor, changes: Tensor, inverse: Tensor) -> Tensor:
    """The two loops over the stored pairs, where an empty pair has no effect."""
    direction = -gradient
    pairs = list(zip(steps, changes, inverse, strict=True))
    shares = []
    for step, change, factor in reversed(pairs):
        share = factor * _dot(step, direction)
        direction = direction - share[:, None] * change
        shares.append(share)
    scale = (inverse[-1] * _dot(changes[-1], changes[-1])).reciprocal()
    scale = torch.where(inverse[-1] > 0, scale, torch.ones_like(scale))
    direction = scale[:, None] * direction
    for (step, change, factor), share in zip(pairs, reversed(shares), strict=True):
        direction = direction + (share - factor * _dot(change, direction))[:, None] * step
    return direction


def _store(past: Tensor, latest: Tensor, which: Tensor) -> Tensor:
    """Stores the latest and drops the oldest, for some of the runs."""
    moved = torch.cat([past[1:], latest[None]])
    return torch.where(which if past.dim() == 2 else which[:, None], moved, past)


def _steepest(gradient: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    return -gradient / size.clamp(min=1)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    product: Tensor = (first * second).sum(dim=1)
    return product
