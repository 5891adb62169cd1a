"""Selection of experts and their weights, given the scores of a router.

A decision routes a frame or an utterance. All functions expect decisions on real frames only,
without padding.

Legend: D decisions, E experts, K experts selected for each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Score = Literal["softmax", "sigmoid"]
Weighting = Literal["before", "after"]


@dataclass(frozen=True)
class Choice:
    """The experts of each decision.

    Attributes:
        experts: Indices of the selected experts, shape (decisions, selected).
        weights: Weights of these experts, shape (decisions, selected); differentiable.
        levels: For each level of the router (one unless it is a tree), the mean probability of each
            node and its share of the selections, both of shape (nodes,).
        scores: Scores before softmax or sigmoid, without noise, shape (decisions, experts); None
            for a tree, which does not score all experts.
        probabilities: Probabilities before selection, 0..1, shape (decisions, experts), which sum
            to 1 over experts, except for independent sigmoids. None for a tree.
        load: Expected number of selections of each expert, shape (experts,), with Gaussian noise
            (``expected_load``); otherwise None.
    """

    experts: Tensor
    weights: Tensor
    levels: tuple[tuple[Tensor, Tensor], ...]
    scores: Tensor | None = None
    probabilities: Tensor | None = None
    load: Tensor | None = None

    def with_shares(self, shares: Tensor) -> Choice:
        """Replaces the experts by fixed shares of each decision's total weight.

        Args:
            shares: Share of each expert, summing to 1, shape (experts,).
        """
        used = shares.nonzero()[:, 0]
        total = self.weights.sum(dim=-1, keepdim=True)
        experts = used.expand(len(total), -1)
        return replace(self, experts=experts, weights=total * shares[used])

    def for_frames(self, utterance: Tensor) -> Choice:
        """Repeats decisions on utterances for all of their frames.

        Args:
            utterance: Index of the utterance of each frame, shape (frames,).
        """
        probabilities = None if self.probabilities is None else self.probabilities[utterance]
        return replace(
            self,
            experts=self.experts[utterance],
            weights=self.weights[utterance],
            probabilities=probabilities,
        )


def to_probabilities(scores: Tensor, score: Score) -> Tensor:
    """Softmax over the experts, or independent sigmoids, in float32; same shape as the scores."""
    scores = scores.float()
    return scores.softmax(dim=-1) if score == "softmax" else scores.sigmoid()


def selection_weights(
    scores: Tensor,
    probabilities: Tensor,
    experts: Tensor,
    score: Score,
    weighting: Weighting,
) -> Tensor:
    """Weights of the selected experts.

    Softmax before and after selection are different models. ``before``: the probabilities, which
    sum to less than 1 and give a gradient even for a single expert (Switch: Fedus et al. 2021, eq.
    2). ``after``: a softmax over the selected experts (Shazeer et al. 2017, eq. 3; sigmoids are
    divided by their sum: DeepSeek-V3 2024, eq. 13).

    Args:
        scores: Shape (decisions, experts), including noise.
        probabilities: Their probabilities, shape (decisions, experts).
        experts: Indices of the selected experts, shape (decisions, selected).
        score: Whether the probabilities are softmax or sigmoid.
        weighting: ``before`` or ``after``.

    Returns:
        Shape (decisions, selected).
    """
    chosen = probabilities.gather(1, experts)
    if weighting == "before":
        return chosen
    if score == "softmax":
        return scores.float().gather(1, experts).softmax(dim=-1)
    return chosen / chosen.sum(dim=-1, keepdim=True).clamp_min(1e-9)


FEW_EXPERTS = 128
"""Up to this number of columns, two passes find the best two faster than sorting."""


def top_indices(values: Tensor, count: int) -> Tensor:
    """Indices of the largest values of each row, best first, shape (rows, count).

    Args:
        values: Shape (rows, columns), without NaN.
        count: Number of indices, 1 or more.
    """
    if count > 2 or values.shape[1] > FEW_EXPERTS or torch.onnx.is_in_onnx_export():
        return values.topk(count, dim=-1).indices
    first = values.argmax(dim=-1, keepdim=True)
    if count == 1:
        return first
    others = values.scatter(-1, first, -torch.inf)
    return torch.cat([first, others.argmax(dim=-1, keepdim=True)], dim=-1)


def straight_through(weights: Tensor) -> Tensor:
    """Replaces weights by equal ones that sum to 1, with the gradient of the original weights.

    Straight-through estimator (Bengio, Léonard & Courville 2013): the forward pass uses a hard
    choice, the backward pass the soft weights. A router that selects a single expert of weight 1
    still learns.
    """
    hard = torch.full_like(weights, 1 / weights.shape[-1])
    return hard + weights - weights.detach()


def gaussian_noise(scores: Tensor, spread: Tensor) -> Tensor:
    """Noisy scores ``s + N(0, 1) * softplus(spread)`` (Shazeer et al. 2017, eq. 4).

    Args:
        scores: Shape (decisions, experts).
        spread: Learned standard deviation, before the softplus, same shape.
    """
    return scores + torch.randn_like(scores) * functional.softplus(spread)


def gumbel_noise(scores: Tensor, scale: float) -> Tensor:
    """Adds Gumbel noise: at scale 1 the best score is a sample from the softmax (Gumbel 1954)."""
    return scores - scale * torch.empty_like(scores).exponential_().log()


def expected_load(scores: Tensor, noisy: Tensor, spread: Tensor, top_k: int) -> Tensor:
    """Expected number of selections of each expert over its noise, with that of the others fixed.

    ``sum_x Phi((s_i(x) - kth_excluding(H(x), k, i)) / softplus(spread_i(x)))`` (Shazeer et al.
    2017, eq. 8-10): a smooth function of the scores, unlike the number of selections.

    Args:
        scores: Scores without noise, shape (decisions, experts).
        noisy: Scores ``H`` with noise, same shape.
        spread: As in ``gaussian_noise``.
        top_k: Experts that are selected, fewer than all.

    Returns:
        Shape (experts,).
    """
    best = noisy.topk(top_k + 1, dim=-1).values
    last_in, first_out = best[:, -2, None], best[:, -1, None]
    # To be selected, an expert must exceed the k-th best of the others.
    to_beat = torch.where(noisy > first_out, first_out, last_in)
    deviations = (scores - to_beat) / functional.softplus(spread).clamp_min(1e-6)
    chance: Tensor = torch.special.ndtr(deviations)
    return chance.sum(dim=0)


def sinkhorn(scores: Tensor, iterations: int = 8) -> Tensor:
    """Balances scores over the experts by Sinkhorn iterations.

    Rows and columns of ``exp(scores)`` are scaled in turn until each decision sums to 1 and each
    expert to decisions / experts (Sinkhorn & Knopp 1967): entropic optimal transport, as in S-BASE
    (Clark et al. 2022).

    Args:
        scores: Shape (decisions, experts).
        iterations: Number of iterations over rows and columns.

    Returns:
        Log probabilities, same shape, without gradient.
    """
    plan = scores.detach().float()
    decisions, experts = plan.shape
    each = math.log(max(decisions, 1) / experts)
    for _ in range(iterations):
        plan = plan - plan.logsumexp(dim=0, keepdim=True) + each
        plan = plan - plan.logsumexp(dim=1, keepdim=True)
    return plan


def choose_frames(
    probabilities: Tensor, utterance: Tensor, num_utterances: int, per_frame: float
) -> tuple[Tensor, Tensor]:
    """Each expert selects its frames (expert choice, Zhou et al. 2022).

    An expert takes the ``ceil(per_frame * frames / experts)`` frames of every utterance in which
    its probability is greatest. (The paper selects within a whole batch. Selection within an
    utterance does not depend on the rest of the batch, but on future frames.)

    Args:
        probabilities: Shape (frames, experts).
        utterance: Index of the utterance of each frame, ascending, shape (frames,).
        num_utterances: Number of utterances.
        per_frame: Experts that a frame gets on average, ``c`` in the paper.

    Returns:
        Frame and expert indices of the selected pairs, each of shape (pairs,).
    """
    num_frames, num_experts = probabilities.shape
    lengths = torch.bincount(utterance, minlength=num_utterances)
    # Sorted by probability, then stably by utterance: the frames of each utterance, best first.
    by_probability = probabilities.detach().argsort(dim=0, descending=True, stable=True)
    by_utterance = utterance[by_probability].argsort(dim=0, stable=True)
    frames = by_probability.gather(0, by_utterance)  # (N, E)
    start = lengths.cumsum(0) - lengths
    rank = torch.arange(num_frames, device=utterance.device) - start[utterance]
    # In float64, since float32 would round 15.000001 up to 16.
    taken = torch.ceil(lengths.double() * per_frame / num_experts - 1e-9).long()
    row, expert = (rank < taken[utterance])[:, None].expand(-1, num_experts).nonzero(as_tuple=True)
    return frames[row, expert], expert


def position_in_expert(expert: Tensor, num_experts: int) -> Tensor:
    """Number of earlier entries with the same expert, shape (entries,).

    Args:
        expert: Expert of each entry, shape (entries,).
        num_experts: Number of experts.
    """
    order = expert.argsort(stable=True)
    counts = torch.bincount(expert, minlength=num_experts)
    start = counts.cumsum(0) - counts
    rank = torch.empty_like(expert)
    rank[order] = torch.arange(len(expert), device=expert.device) - start[expert[order]]
    return rank
