"""Combination rules: how the outputs of the experts are blended by their weights.

Legend: E experts, P outputs; any leading shape.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from phoneme_moe.errors import InputError, suggest
from phoneme_moe.mixture.routing import Routing

Combination = Literal["weighted_sum", "product", "maximum", "vote"]
"""The same as in ``recipe.model``, which must not import torch."""


def blend_experts(routing: Routing, log_posteriors: Tensor) -> Tensor:
    """Weighted sum of the experts' probabilities, computed in logarithms and float32.

    ``log sum_e w_e p_e`` (Hampshire & Waibel 1989: outputs multiplied by the gate and summed;
    Jacobs et al. 1991).

    Args:
        routing: Weights of shape (batch, frames, experts).
        log_posteriors: Log posteriors of each expert, shape (batch, frames, experts, outputs).

    Returns:
        Log posteriors of the mixture, shape (batch, frames, outputs).
    """
    return torch.logsumexp(routing.log_weights.float()[..., None] + log_posteriors.float(), dim=-2)


def weighted_sum(log_weights: Tensor, outputs: Tensor) -> Tensor:
    """Weighted sum of the experts' outputs (Hampshire & Waibel 1989).

    For values of any sign; ``blend_experts`` does the same for log posteriors.

    Args:
        log_weights: Natural logarithms, shape (..., experts).
        outputs: Outputs of each expert, shape (..., experts, outputs).

    Returns:
        Shape (..., outputs).
    """
    return (log_weights.exp()[..., None] * outputs).sum(dim=-2)


def product_of_experts(log_weights: Tensor, log_posteriors: Tensor) -> Tensor:
    """Log posteriors of the normalised product ``prod_i p_i(k)^w_i`` (log-linear pooling).

    A single confident expert can veto an output (Hinton 1999).

    Args:
        log_weights: Natural logarithms of the exponents, shape (..., experts).
        log_posteriors: Log posteriors of each expert, shape (..., experts, outputs).

    Returns:
        Shape (..., outputs).
    """
    return torch.log_softmax(weighted_sum(log_weights, log_posteriors), dim=-1)


def strongest(log_weights: Tensor, log_posteriors: Tensor) -> Tensor:
    """Log posteriors of the expert with the largest weight.

    Args:
        log_weights: Natural logarithms, shape (..., experts).
        log_posteriors: Log posteriors of each expert, shape (..., experts, outputs).

    Returns:
        Shape (..., outputs).
    """
    best = log_weights.argmax(dim=-1)[..., None, None]
    return log_posteriors.take_along_dim(best, dim=-2).squeeze(-2)


def majority_vote(log_weights: Tensor, log_posteriors: Tensor) -> Tensor:
    """Each output's share of the (weighted) votes; each expert votes for its most probable output.

    Args:
        log_weights: Natural logarithms of the voting weights, shape (..., experts); the weights
            need not sum to 1.
        log_posteriors: Log posteriors of each expert, shape (..., experts, outputs).

    Returns:
        Logarithms of the shares, shape (..., outputs); ``-inf`` for an output without votes. Votes
        have no gradient.
    """
    votes = torch.nn.functional.one_hot(log_posteriors.argmax(dim=-1), log_posteriors.shape[-1])
    counted = weighted_sum(log_weights, votes.to(log_weights.dtype))
    return (counted / counted.sum(dim=-1, keepdim=True)).log()


def combine(rule: Combination, routing: Routing, log_posteriors: Tensor) -> Tensor:
    """Log posteriors of the mixture, by a combination rule of a recipe.

    The exponents of a product are the gate's outputs. Raw sigmoids may sum to more or less than 1,
    which makes the product sharper or flatter; all other rules give the same result for raw and for
    normalised sigmoids.

    Args:
        rule: ``weighted_sum`` (``blend_experts``), ``product`` (``product_of_experts``),
            ``maximum`` (``strongest``) or ``vote`` (``majority_vote``).
        routing: Weights of shape (batch, frames, experts).
        log_posteriors: Log posteriors of each expert, finite, shape (batch, frames, experts,
            outputs).

    Returns:
        Log posteriors in float32, shape (batch, frames, outputs).

    Raises:
        InputError: The rule is unknown.
    """
    if rule == "weighted_sum":
        return blend_experts(routing, log_posteriors)
    outputs = log_posteriors.float()
    if rule == "product":
        return product_of_experts(routing.log_probabilities.float(), outputs)
    if rule == "maximum":
        return strongest(routing.log_weights.float(), outputs)
    if rule == "vote":
        return majority_vote(routing.log_weights.float(), outputs)
    raise InputError(f"combination: found {rule!r}{suggest(rule, get_args(Combination))}")


def combine_values(rule: Combination, routing: Routing, values: Tensor) -> Tensor:
    """Values of the mixture: the weighted sum, or the values of the expert with the largest weight.

    Args:
        rule: ``weighted_sum`` or ``maximum``; products and votes need posteriors.
        routing: Weights of shape (batch, frames, experts).
        values: Values of each expert, shape (batch, frames, experts, outputs).

    Returns:
        In float32, shape (batch, frames, outputs).

    Raises:
        InputError: The rule is not one of these two.
    """
    if rule == "weighted_sum":
        return weighted_sum(routing.log_weights.float(), values.float())
    if rule == "maximum":
        return strongest(routing.log_weights.float(), values.float())
    raise InputError(
        f"combination: found {rule!r}, expected weighted_sum or maximum for experts whose outputs "
        "are values"
    )
