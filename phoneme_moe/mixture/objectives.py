"""How far a net is from its targets, and a mixture: what experts are made to do by their error.

Hampshire & Waibel train nets of one shape on three objectives, whose errors fall on different
tokens: squared error, cross-entropy and the classification figure of merit.

For mixtures there are three errors, all of Jacobs, Jordan, Nowlan & Hinton (1991), for one case c
with target d, expert outputs o_i and proportions p_i. They differ in who feels whose error: in
equation 1 each expert must cancel what the others leave (cooperation); in equations 2 and 3 each is
compared with the target itself (competition), and in equation 3 the expert that fits best learns
fastest.

Legend: C cases (any leading shape), E experts, D outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from phoneme_moe.mixture.combine import weighted_sum


def blend_error(log_weights: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of the blend: ``|d - sum_i p_i o_i|^2`` (equation 1; Hampshire & Waibel 1989).

    Args:
        log_weights: Natural logarithms of the proportions, shape (..., cases, experts).
        outputs: Of every expert, shape (..., cases, experts, outputs).
        targets: Shape (cases, outputs), or with the same leading shape.

    Returns:
        Shape (..., cases).
    """
    return (targets - weighted_sum(log_weights, outputs)).square().sum(dim=-1)


def expected_error(log_weights: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
    """Expected squared error of an expert drawn by its weight: ``sum_i p_i |d - o_i|^2``.

    Equation 2; arguments and result as in ``blend_error``.
    """
    return (log_weights.exp() * _squared_errors(outputs, targets)).sum(dim=-1)


def competitive_error(
    log_weights: Tensor, outputs: Tensor, targets: Tensor, sigma: float = 1.0
) -> Tensor:
    """Negative log likelihood of a mixture of Gaussians around the experts' outputs.

    ``-log sum_i p_i exp(-|d - o_i|^2 / (2 sigma^2))``, without the constant of the Gaussian
    (equation 3, where sigma is 1; Nowlan & Hinton 1991 use 0.25).

    Args:
        log_weights: Natural logarithms of the proportions, shape (..., cases, experts).
        outputs: Of every expert, shape (..., cases, experts, outputs).
        targets: Shape (cases, outputs), or with the same leading shape.
        sigma: Standard deviation of each Gaussian, in units of the targets.

    Returns:
        Shape (..., cases), in nats.
    """
    closeness = -_squared_errors(outputs, targets) / (2 * sigma**2)
    return -torch.logsumexp(log_weights + closeness, dim=-1)


def responsibilities(
    log_weights: Tensor, outputs: Tensor, targets: Tensor, sigma: float = 1.0
) -> Tensor:
    """Who accounts for each case once its target is known: the posterior ``h_i`` of equation 3.

    The gradient of ``competitive_error`` by an output is ``-h_i (d - o_i) / sigma^2``.

    Returns:
        Shape (..., cases, experts), each case's sum to 1. Arguments as in ``competitive_error``.
    """
    closeness = -_squared_errors(outputs, targets) / (2 * sigma**2)
    return torch.softmax(log_weights + closeness, dim=-1)


def _squared_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    return (targets[..., None, :] - outputs).square().sum(dim=-1)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """``|d - o|^2`` (MSE; Waibel et al. 1989).

    Args:
        outputs: Of sigmoid units, 0..1, shape (..., classes).
        targets: 1 for the right class and 0 for the others, the same shape or one that expands.

    Returns:
        Shape (...).
    """
    return (targets - outputs).square().sum(dim=-1)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """``-sum_n d_n log o_n + (1 - d_n) log(1 - o_n)``, in nats: each output is a probability.

    Outputs outside of 0..1, as a blend with unnormalised weights may have, count as certain.
    Arguments and result as in ``squared_error``.
    """
    sure = outputs.clamp(1e-6, 1 - 1e-6)
    return -(targets * sure.log() + (1 - targets) * (1 - sure).log()).sum(dim=-1)


def negative_figure_of_merit(outputs: Tensor, targets: Tensor, steepness: float = 4.0) -> Tensor:
    """Classification figure of merit, negated: how far the right output is ahead of each other.

    ``-1/(N-1) sum_{n != c} 1 / (1 + exp(-steepness (o_c - o_n)))`` for the right class c of N (CFM:
    Hampshire & Waibel, IEEE Trans. Neural Networks 1(2), 1990). Unlike the other two it is content
    with the right order: what is far on the right side has next to no gradient.

    Args:
        outputs: Shape (..., classes).
        targets: As in ``squared_error``.
        steepness: The paper's beta; its value there is not known, nor alpha (1) and zeta (0).

    Returns:
        Shape (...), -1..0.
    """
    right = (outputs * targets).sum(dim=-1, keepdim=True)
    ahead = torch.sigmoid(steepness * (right - outputs)) * (1 - targets)
    return -ahead.sum(dim=-1) / (outputs.shape[-1] - 1)


NET_OBJECTIVES = {
    "mse": squared_error,
    "ce": cross_entropy,
    "cfm": negative_figure_of_merit,
}
"""Of a net with an output for each class, by the paper's names."""

OBJECTIVES = {"blend": blend_error, "expected": expected_error, "competitive": competitive_error}
"""By the name that an experiment gives them."""
