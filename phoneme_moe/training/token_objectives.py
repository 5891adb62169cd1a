"""Objectives of a net with an output for each class: MSE, cross-entropy and CFM.

Hampshire & Waibel train nets of one shape on these three, whose errors fall on different tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """``|d - o|^2`` (MSE; Waibel et al. 1989).

    Args:
        outputs: Of sigmoid units, 0..1, shape (..., classes).
        targets: 1 for the correct class and 0 for the others, the same shape or one that expands.

    Returns:
        Shape (...).
    """
    return (targets - outputs).square().sum(dim=-1)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """``-sum_n d_n log o_n + (1 - d_n) log(1 - o_n)``, in nats: each output is a probability.

    Outputs outside of 0..1, as a blend with unnormalised weights may have, count as certain.
    Arguments and result as in ``squared_error``.
    """
    clamped = outputs.clamp(1e-6, 1 - 1e-6)
    return -(targets * clamped.log() + (1 - targets) * (1 - clamped).log()).sum(dim=-1)


def negative_figure_of_merit(outputs: Tensor, targets: Tensor, steepness: float = 4.0) -> Tensor:
    """Classification figure of merit, negated: the margin of the correct class over each other.

    ``-1/(N-1) sum_{n != c} 1 / (1 + exp(-steepness (o_c - o_n)))`` for the correct class c of N
    (CFM: Hampshire & Waibel, IEEE Trans. Neural Networks 1(2), 1990). Unlike the other two it
    rewards the order only: beyond a clear margin there is almost no gradient.

    Args:
        outputs: Shape (..., classes).
        targets: As in ``squared_error``.
        steepness: The paper's beta; its value there is not known, nor alpha (1) and zeta (0).

    Returns:
        Shape (...), -1..0.
    """
    correct = (outputs * targets).sum(dim=-1, keepdim=True)
    margins = torch.sigmoid(steepness * (correct - outputs)) * (1 - targets)
    return -margins.sum(dim=-1) / (outputs.shape[-1] - 1)


NET_OBJECTIVES = {
    "mse": squared_error,
    "ce": cross_entropy,
    "cfm": negative_figure_of_merit,
}
"""Objectives of a net with an output for each class, by the paper's names."""
