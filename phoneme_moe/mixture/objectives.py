"""Objectives of regression mixtures: the three errors of Jacobs, Jordan, Nowlan & Hinton (1991).

For one case c with target d, expert outputs o_i and proportions p_i they differ in the error of
each expert. In equation 1 it must cancel the residual of the others (cooperation); in equations 2
and 3 it is compared with the target (competition), and in equation 3 the expert that fits best
learns fastest. A mixture of log posteriors is trained on the likelihood of the mixture.

Legend: C cases (any leading shape), E experts, D outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from phoneme_moe.mixture.combination import weighted_sum


def blend_error(log_weights: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of the mixture, ``|d - sum_i p_i o_i|^2`` (eq. 1; Hampshire & Waibel 1989).

    Args:
        log_weights: Natural logarithms of the proportions, shape (..., cases, experts).
        outputs: Outputs of every expert, shape (..., cases, experts, outputs).
        targets: Shape (cases, outputs), or with the same leading shape.

    Returns:
        Shape (..., cases).
    """
    return (targets - weighted_sum(log_weights, outputs)).square().sum(dim=-1)


def expected_error(log_weights: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
    """Expected squared error of a randomly drawn expert: ``sum_i p_i |d - o_i|^2``.

    Equation 2; arguments and result as in ``blend_error``.
    """
    return (log_weights.exp() * _squared_errors(outputs, targets)).sum(dim=-1)


def competitive_error(
    log_weights: Tensor, outputs: Tensor, targets: Tensor, sigma: float = 1.0
) -> Tensor:
    """Negative log likelihood of a mixture of Gaussians around the experts' outputs.

    ``-log sum_i p_i exp(-|d - o_i|^2 / (2 sigma^2))``, without the normalisation constant of the
    Gaussian (equation 3, where sigma is 1; Nowlan & Hinton 1991 use 0.25).

    Args:
        log_weights: Natural logarithms of the proportions, shape (..., cases, experts).
        outputs: Outputs of every expert, shape (..., cases, experts, outputs).
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
    """Posterior of each expert given the target of a case: ``h_i`` of equation 3.

    The gradient of ``competitive_error`` with respect to an output is ``-h_i (d - o_i) / sigma^2``.

    Returns:
        Shape (..., cases, experts), summing to 1 over experts. Arguments as in
        ``competitive_error``.
    """
    closeness = -_squared_errors(outputs, targets) / (2 * sigma**2)
    return torch.softmax(log_weights + closeness, dim=-1)


def _squared_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    return (targets[..., None, :] - outputs).square().sum(dim=-1)


OBJECTIVES = {"blend": blend_error, "expected": expected_error, "competitive": competitive_error}
"""The objectives by name."""
