"""Load balancing of experts: auxiliary losses, and selection biases without a loss.

Without it, a router prefers the experts that are already better, which then improve further. All
functions expect decisions on real frames only, without padding.

In a step that several processes take together, statistics are those of the batch of all of them:
balancing every part of a batch by itself leaves experts less room to specialise (Qiu et al. 2025,
arXiv 2501.11873). A loss needs them only at the end of the step, so those of all layers are
exchanged together (``layer_routing.over_all_ranks``).

Legend: D decisions, E experts, K experts selected for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from phoneme_moe.system.ranks import global_sum


class BalanceTerm(NamedTuple):
    """A balancing loss of a layer with what it depends on.

    Attributes:
        weight: Weight of the loss in the training loss.
        loss: The loss, a function of the statistics.
        statistics: Means over the decisions of this process; or sums over them, for a loss that a
            factor does not change.
        num_decisions: Number of these decisions; 1 for sums.
    """

    weight: float
    loss: Callable[..., Tensor]
    statistics: tuple[Tensor, ...]
    num_decisions: int = 1


def count_decisions(experts: Tensor, num_experts: int) -> Tensor:
    """Counts how often each expert was selected, shape (experts,).

    Args:
        experts: Indices, any shape.
        num_experts: Number of experts.
    """
    if torch.onnx.is_in_onnx_export():  # ONNX has no bincount; counts are not used there
        return experts.new_zeros(num_experts)
    return torch.bincount(experts.flatten(), minlength=num_experts)


def squared_variation(amounts: Tensor) -> Tensor:
    """Squared coefficient of variation: 0 if all amounts are equal, E - 1 if only one is not 0.

    Args:
        amounts: At least 0, shape (experts,).
    """
    mean = amounts.mean()
    return (amounts - mean).square().mean() / mean.square().clamp_min(1e-10)


def summed_weights(experts: Tensor, weights: Tensor, num_experts: int) -> Tensor:
    """Sum of the weights of each expert, its importance (Shazeer et al. 2017, eq. 6).

    Args:
        experts: Indices of the selected experts, shape (decisions, selected).
        weights: Their weights, shape (decisions, selected).
        num_experts: Number of experts.

    Returns:
        Shape (experts,).
    """
    return weights.new_zeros(num_experts).index_add(0, experts.flatten(), weights.flatten())


def importance_loss(experts: Tensor, weights: Tensor, num_experts: int) -> Tensor:
    """Squared coefficient of variation of summed weights (Shazeer et al. 2017, eq. 6-7).

    Args:
        experts: Indices of the selected experts, shape (decisions, selected).
        weights: Their weights, shape (decisions, selected).
        num_experts: Number of experts.
    """
    return squared_variation(summed_weights(experts, weights, num_experts))


def share_of_choices(experts: Tensor, num_experts: int) -> Tensor:
    """Each expert's share of the selections, summing to 1, shape (experts,); without gradient."""
    return count_decisions(experts, num_experts) / max(experts.numel(), 1)


def mean_probability(probabilities: Tensor, sums_to_one: bool = False) -> Tensor:
    """Mean probability of each expert, summing to 1, shape (experts,).

    The sigmoids of each decision are first divided by their sum (DeepSeek-V3 2024, eq. 19).

    Args:
        probabilities: Shape (decisions, experts).
        sums_to_one: Whether the probabilities of each decision sum to 1.
    """
    if not sums_to_one:
        total = probabilities.sum(dim=-1, keepdim=True).clamp_min(1e-9)
        probabilities = probabilities / total
    return probabilities.sum(dim=0) / max(len(probabilities), 1)


def switch_loss(mean: Tensor, share: Tensor) -> Tensor:
    """``E sum_i f_i P_i``, 1 when balanced (Fedus et al. 2021, eq. 4; GShard for k > 1).

    Args:
        mean: ``P``, mean probability of each expert, which has the gradient; shape (experts,).
        share: ``f``, each expert's share of the selections, shape (experts,).
    """
    return len(mean) * (share * mean).sum()


def switch_loss_of_levels(*statistics: Tensor) -> Tensor:
    """Sum of ``switch_loss`` over the levels of a router.

    Args:
        statistics: ``P`` and ``f`` of the first level, then of the next.
    """
    of_levels = zip(statistics[::2], statistics[1::2], strict=True)
    first, *others = (switch_loss(mean, share) for mean, share in of_levels)
    return sum(others, first)


def z_loss(scores: Tensor) -> Tensor:
    """Mean squared ``log sum_j exp s_j``: keeps scores small (ST-MoE: Zoph et al. 2022, eq. 5).

    Args:
        scores: Shape (decisions, experts).
    """
    return scores.float().logsumexp(dim=-1).square().sum() / max(len(scores), 1)


class SelectionBias(nn.Module):
    """Selection biases, which balance the load without a loss (Wang et al. 2024; DeepSeek-V3).

    Experts are *selected* by probability plus bias and *weighted* by probability alone. Every
    ``every`` steps, the bias of each expert that was selected more often than the mean decreases by
    ``rate``, and that of each expert selected less often increases. Selections are accumulated over
    these steps because the sign of the difference is noisy in small batches.
    """

    bias: Tensor
    counts: Tensor
    steps: Tensor

    def __init__(self, num_experts: int, rate: float, every: int = 1) -> None:
        """Initialises the biases to 0.

        Args:
            num_experts: Number of experts.
            rate: Change of a bias, in units of probability.
            every: Training steps between changes.
        """
        super().__init__()
        self.rate = rate
        self.every = every
        self.register_buffer("bias", torch.zeros(num_experts))
        # Counts since the last change; not saved, since training resumes at an epoch.
        self.register_buffer("counts", torch.zeros(num_experts), persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long), persistent=False)

    def reset_counts(self) -> None:
        """Resets the counts, at the beginning of an epoch."""
        self.counts.zero_()
        self.steps.zero_()

    @torch.no_grad()
    def count(self, counts: Tensor, offset: Tensor | None = None) -> None:
        """Adds the selections of a training step; not called in evaluation.

        Args:
            counts: Number of selections of each expert, shape (experts,).
            offset: Above 0 for new experts that are still being introduced
                (``TokenChoice.offset``), whose biases do not change; shape (experts,).
        """
        self.counts += counts
        self.steps += 1
        if int(self.steps) >= self.every:
            total = global_sum(self.counts)
            active = torch.ones_like(self.bias) if offset is None else (offset == 0).float()
            mean = (total * active).sum() / active.sum().clamp_min(1)
            self.bias -= self.rate * torch.sign(total - mean) * active
            self.reset_counts()
