"""Expert weights, in the form shared by gates, routers and reports.

Legend: B batch, T frames, E experts, P outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from phoneme_moe.system.ranks import global_mean


@dataclass(frozen=True)
class Routing:
    """The weight of each expert in each frame.

    Data without time have no frame axis: shape (cases, experts), with a mask of shape (cases,).

    Attributes:
        log_probabilities: Output of the gate before any selection; natural logarithm, shape (batch,
            frames, experts). The probabilities of a frame sum to 1, except for raw sigmoids, which
            are independent.
        log_weights: Weight of each expert in the mixture, after selection and normalisation; the
            weights of a frame sum to 1, and ``-inf`` marks experts that are not selected.
        mask: True for real frames, shape (batch, frames).
        layer: Name of the sparse layer, or ``gate``.
    """

    log_probabilities: Tensor
    log_weights: Tensor
    mask: Tensor
    layer: str = "gate"

    @property
    def probabilities(self) -> Tensor:
        """Output of the gate, 0..1, shape (batch, frames, experts)."""
        return self.log_probabilities.exp()

    @property
    def weights(self) -> Tensor:
        """Weights in the mixture, 0..1, shape (batch, frames, experts)."""
        return self.log_weights.exp()

    def mean_weights(self) -> Tensor:
        """Mean weight of each expert over real frames (its load), shape (experts,)."""
        return self.weights[self.mask].mean(dim=0)

    def loads(self) -> Tensor:
        """Mean weight of each expert in each utterance, shape (batch, experts)."""
        real = self.weights * self.mask[..., None]
        return real.sum(dim=1) / self.mask.sum(dim=1, keepdim=True)


def all_real(frames: Tensor) -> Tensor:
    """The mask of a batch without padding: (batch, frames, channels) to (batch, frames)."""
    return torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)


def dense_routing(log_probabilities: Tensor, mask: Tensor) -> Routing:
    """Routing in which every expert has the gate's probability as its weight.

    Args:
        log_probabilities: Shape (batch, frames, experts).
        mask: Shape (batch, frames).
    """
    return Routing(log_probabilities, log_probabilities, mask)


def normalized_routing(log_strengths: Tensor, mask: Tensor) -> Routing:
    """Routing by independent weights, divided by their sum.

    This is equivalent to normalising the mixture over its outputs: the posteriors of each expert
    sum to 1, so those of the mixture sum to the sum of the weights.

    Args:
        log_strengths: Raw sigmoids of a gate, natural logarithm, shape (batch, frames, experts).
        mask: Shape (batch, frames).
    """
    return Routing(log_strengths, torch.log_softmax(log_strengths, dim=-1), mask)


def fixed_routing(expert: Tensor, num_experts: int, mask: Tensor) -> Routing:
    """Routes each utterance to one given expert, without a gate.

    Args:
        expert: Index of the expert of each utterance, shape (batch,).
        num_experts: Number of experts.
        mask: Shape (batch, frames), or (cases,).
    """
    chosen = torch.nn.functional.one_hot(expert, num_experts).float()  # (B, E)
    log_weights = chosen.log()
    if mask.dim() == 2:
        log_weights = log_weights[:, None, :].expand(*mask.shape, num_experts)  # (B, T, E)
    return Routing(log_weights, log_weights, mask, layer="fixed")


def imbalance(routing: Routing) -> Tensor:
    """Squared coefficient of variation of the experts' load over real frames.

    0 if all experts have the same mean weight, ``num_experts - 1`` if one has all of it (importance
    loss, Shazeer et al. 2017, eq. 6-7).
    """
    load = global_mean(routing.weights[routing.mask])
    return len(load) * (load**2).sum() - 1
