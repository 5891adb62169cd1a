"""Load balancing of the experts of a router: losses, and biases without a loss.

A router without it sends more to the experts that are better already, which then become better
still. All functions are given real decisions only; padding counts nowhere.

Legend: D decisions, E experts, K experts selected for each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def count_decisions(experts: Tensor, num_experts: int) -> Tensor:
    """How often each expert was selected, shape (experts,).

    Args:
        experts: Indices, any shape.
        num_experts: How many there are.
    """
    if torch.onnx.is_in_onnx_export():  # which has no bincount, and needs no counts
        return experts.new_zeros(num_experts)
    return torch.bincount(experts.flatten(), minlength=num_experts)


def squared_variation(amounts: Tensor) -> Tensor:
    """Squared coefficient of variation: 0 when all amounts are equal, E - 1 when one has all.

    Args:
        amounts: At least 0, shape (experts,).
    """
    mean = amounts.mean()
    return (amounts - mean).square().mean() / mean.square().clamp_min(1e-10)


def importance_loss(experts: Tensor, weights: Tensor, num_experts: int) -> Tensor:
    """Squared variation of the experts' summed weights (Shazeer et al. 2017, eq. 6-7).

    Args:
        experts: Shape (decisions, chosen).
        weights: Shape (decisions, chosen).
        num_experts: How many there are.
    """
    importance = weights.new_zeros(num_experts).index_add(0, experts.flatten(), weights.flatten())
    return squared_variation(importance)


def share_of_choices(experts: Tensor, num_experts: int) -> Tensor:
    """Each expert's share of the selections, sum 1, shape (experts,); without gradient."""
    return count_decisions(experts, num_experts) / max(experts.numel(), 1)


def mean_probability(probabilities: Tensor, sums_to_one: bool = False) -> Tensor:
    """Each expert's mean probability, sum 1, shape (experts,).

    Sigmoids are divided by their sum first (DeepSeek-V3 2024, eq. 19).

    Args:
        probabilities: Shape (decisions, experts).
        sums_to_one: Whether those of each decision do.
    """
    if sums_to_one:
        return probabilities.sum(dim=0) / max(len(probabilities), 1)
    total = probabilities.sum(dim=-1, keepdim=True).clamp_min(1e-9)
    return (probabilities / total).sum(dim=0) / max(len(probabilities), 1)


def switch_loss(mean: Tensor, share: Tensor) -> Tensor:
    """``E sum_i f_i P_i``, 1 when balanced (Fedus et al. 2021, eq. 4; GShard for k > 1).

    Args:
        mean: ``P``, mean probability of each expert, through which the gradient comes; (experts,).
        share: ``f``, each expert's share of the selections, shape (experts,).
    """
    return len(mean) * (share * mean).sum()


def z_loss(scores: Tensor) -> Tensor:
    """Mean squared ``log sum_j exp s_j``: keeps scores small (ST-MoE: Zoph et al. 2022, eq. 5).

    Args:
        scores: Shape (decisions, experts).
    """
    return scores.float().logsumexp(dim=-1).square().mean()


class SelectionBias(nn.Module):
    """Biases that balance without a loss (Wang et al. 2024; DeepSeek-V3).

    Experts are *selected* by probability plus bias and *weighted* by probability alone. After every
    ``every`` steps the bias of each expert selected more often than the mean goes down by ``rate``,
    of each selected less often up. In a small batch the sign of the difference is noise: the
    selections of ``every`` steps are counted together.
    """

    bias: Tensor
    counts: Tensor
    steps: Tensor

    def __init__(self, num_experts: int, rate: float, every: int = 1) -> None:
        """Starts with biases of 0.

        Args:
            num_experts: How many there are.
            rate: Change of a bias, in units of probability.
            every: Steps whose selections are counted together.
        """
        super().__init__()
        self.rate = rate
        self.every = every
        self.register_buffer("bias", torch.zeros(num_experts))
        # Since the last change; lost with the process, like the epoch's batches.
        self.register_buffer("counts", torch.zeros(num_experts), persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long), persistent=False)

    def reset_counts(self) -> None:
        """Counts from 0, as a resumed run does at the beginning of an epoch."""
        self.counts.zero_()
        self.steps.zero_()

    @torch.no_grad()
    def count(self, counts: Tensor, offset: Tensor | None = None) -> None:
        """Adds the selections of a training step; evaluation never calls this.

        Args:
            counts: How often each expert was selected, shape (experts,).
            offset: Above 0 for a new expert that does not fully take part yet
                (``TokenChoice.offset``), shape (experts,): its bias does not change.
        """
        self.counts += counts
        self.steps += 1
        if int(self.steps) >= self.every:
            active = torch.ones_like(self.bias) if offset is None else (offset == 0).float()
            mean = (self.counts * active).sum() / active.sum().clamp_min(1)
            self.bias -= self.rate * torch.sign(self.counts - mean) * active
            self.reset_counts()
