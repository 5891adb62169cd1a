"""Objectives of token classifiers: MSE, cross-entropy and CFM.

Hampshire & Waibel train nets of the same architecture on these three and find that their errors
differ.
"""

from __future__ import annotations

import torch
from torch import Tensor


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """``|d - o|^2`` (MSE; Waibel et al. 1989).

    Args:
        outputs: Outputs of sigmoid units, 0..1, shape (..., classes).
        targets: 1 for the correct class and 0 for the others; the same or a broadcastable shape.

    Returns:
        Errors, shape (...).
    """
    return (targets - outputs).square().sum(dim=-1)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """``-sum_n d_n log o_n + (1 - d_n) log(1 - o_n)``, in nats.

    Outputs are probabilities; values outside 0..1, which unnormalised weights can give, are
    clamped. Arguments and result are those of ``squared_error``.
    """
    clamped = outputs.clamp(1e-6, 1 - 1e-6)
    return -(targets * clamped.log() + (1 - targets) * (1 - clamped).log()).sum(dim=-1)


def negative_figure_of_merit(outputs: Tensor, targets: Tensor, steepness: float = 4.0) -> Tensor:
    """Negated classification figure of merit: margins of the correct class over the others.

    ``-1/(N-1) sum_{n != c} 1 / (1 + exp(-steepness (o_c - o_n)))`` for the correct class c of N
    (CFM: Hampshire & Waibel, IEEE Trans. Neural Networks 1(2), 1990). Unlike the other two
    it rewards only the ranking: beyond a clear margin there is almost no gradient.

    Args:
        outputs: Outputs, shape (..., classes).
        targets: See ``squared_error``.
        steepness: The paper's beta; the paper does not give its value, nor alpha (here 1) and
            zeta (here 0).

    Returns:
        Negated figures of merit, shape (...), -1..0.
    """
    correct = (outputs * targets).sum(dim=-1, keepdim=True)
    margins = torch.sigmoid(steepness * (correct - outputs)) * (1 - targets)
    return -margins.sum(dim=-1) / (outputs.shape[-1] - 1)


NET_OBJECTIVES = {
    "mse": squared_error,
    "ce": cross_entropy,
    "cfm": negative_figure_of_merit,
}
"""Objectives by their names in the paper."""
