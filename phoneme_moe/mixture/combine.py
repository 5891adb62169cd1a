"""What several experts say together.

Legend: E experts, P outputs; any leading shape.
"""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_sum(log_weights: Tensor, outputs: Tensor) -> Tensor:
    """Sum of the experts' outputs, each times its weight (Hampshire & Waibel 1989).

    For outputs of any sign; ``routing.combine`` does the same for log posteriors.

    Args:
        log_weights: Natural logarithms, shape (..., experts).
        outputs: Shape (..., experts, outputs).

    Returns:
        Shape (..., outputs).
    """
    return (log_weights.exp()[..., None] * outputs).sum(dim=-2)


def product_of_experts(log_weights: Tensor, log_posteriors: Tensor) -> Tensor:
    """Log posteriors of the normalised product ``prod_i p_i(k)^w_i`` (log-linear pooling).

    One expert that is certain can overrule the others by ruling an output out (Hinton 1999).

    Args:
        log_weights: Natural logarithms of the exponents, shape (..., experts).
        log_posteriors: Of each expert, shape (..., experts, outputs).

    Returns:
        Shape (..., outputs).
    """
    return torch.log_softmax(weighted_sum(log_weights, log_posteriors), dim=-1)


def strongest(log_weights: Tensor, log_posteriors: Tensor) -> Tensor:
    """Log posteriors of the expert with the largest weight, and of no other.

    Args:
        log_weights: Shape (..., experts).
        log_posteriors: Of each expert, shape (..., experts, outputs).

    Returns:
        Shape (..., outputs).
    """
    best = log_weights.argmax(dim=-1)[..., None, None]
    return log_posteriors.take_along_dim(best, dim=-2).squeeze(-2)


def majority_vote(log_weights: Tensor, log_posteriors: Tensor) -> Tensor:
    """Share of the (weighted) votes that each output gets; each expert votes for its best.

    Args:
        log_weights: Natural logarithms of what each vote counts, shape (..., experts); they need
            not sum to 1.
        log_posteriors: Of each expert, shape (..., experts, outputs).

    Returns:
        Logarithms of the shares, shape (..., outputs); ``-inf`` where nobody voted. Decisions have
        no gradient.
    """
    votes = torch.nn.functional.one_hot(log_posteriors.argmax(dim=-1), log_posteriors.shape[-1])
    counted = weighted_sum(log_weights, votes.to(log_weights.dtype))
    return (counted / counted.sum(dim=-1, keepdim=True)).log()
