"""From a router's scores to the selected experts and their weights.

A decision is whatever is routed as one: a frame, or an utterance. All functions are given real
decisions only; padding never reaches them.

Legend: D decisions, E experts, K experts chosen for each.
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
        experts: Indices of the selected experts, shape (decisions, chosen).
        weights: Their weights, shape (decisions, chosen); the router learns through them.
        levels: For every level of the router, one unless it is a tree: mean probability of each of
            its nodes and their share of the choices, both of shape (nodes,).
        scores: Before softmax or sigmoid, without noise, shape (decisions, experts); None for a
            tree, which does not score all experts.
        probabilities: Before selection, 0..1, shape (decisions, experts); each decision's sum to 1,
            except for sigmoids, which are independent. None for a tree.
        load: Expected number of decisions of each expert, where noise makes it smooth
            (``expected_load``), shape (experts,); else None.
    """

    experts: Tensor
    weights: Tensor
    levels: tuple[tuple[Tensor, Tensor], ...]
    scores: Tensor | None = None
    probabilities: Tensor | None = None
    load: Tensor | None = None

    def with_shares(self, shares: Tensor) -> Choice:
        """The same total weight of each decision, divided among experts in fixed shares.

        Args:
            shares: Of each expert, sum 1, shape (experts,).
        """
        used = shares.nonzero()[:, 0]
        total = self.weights.sum(dim=-1, keepdim=True)
        experts = used.expand(len(total), -1)
        return replace(self, experts=experts, weights=total * shares[used])

    def for_frames(self, utterance: Tensor) -> Choice:
        """Decisions on utterances, repeated for every frame of each.

        Args:
            utterance: Utterance of each frame, shape (frames,).
        """
        probabilities = None if self.probabilities is None else self.probabilities[utterance]
        return replace(
            self,
            experts=self.experts[utterance],
            weights=self.weights[utterance],
            probabilities=probabilities,
        )


def to_probabilities(scores: Tensor, score: Score) -> Tensor:
    """Softmax over the experts, or a sigmoid for each, in float32; shape as the scores."""
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

    Softmax before and after selection are different models. ``before``: the probabilities as they
    are, which sum to less than 1 and keep a gradient for a single expert (Switch: Fedus et al.
    2021, eq. 2). ``after``: a softmax over the selected alone (Shazeer et al. 2017, eq. 3; with
    sigmoids, their shares: DeepSeek-V3 2024, eq. 13).

    Args:
        scores: Shape (decisions, experts), with noise if there is any.
        probabilities: Of them, shape (decisions, experts).
        experts: The selected, shape (decisions, chosen).
        score: What the probabilities are.
        weighting: See above.

    Returns:
        Shape (decisions, chosen).
    """
    chosen = probabilities.gather(1, experts)
    if weighting == "before":
        return chosen
    if score == "softmax":
        return scores.float().gather(1, experts).softmax(dim=-1)
    return chosen / chosen.sum(dim=-1, keepdim=True).clamp_min(1e-9)


FEW_EXPERTS = 128
"""Up to this number, two passes find the best two faster than sorting does."""


def top_indices(values: Tensor, count: int) -> Tensor:
    """Indices of the largest values of each row, best first, shape (rows, count).

    Args:
        values: Shape (rows, columns); NaN nowhere.
        count: 1 or more.
    """
    if count > 2 or values.shape[1] > FEW_EXPERTS or torch.onnx.is_in_onnx_export():
        return values.topk(count, dim=-1).indices
    first = values.argmax(dim=-1, keepdim=True)
    if count == 1:
        return first
    others = values.scatter(-1, first, -torch.inf)
    return torch.cat([first, others.argmax(dim=-1, keepdim=True)], dim=-1)


def straight_through(weights: Tensor) -> Tensor:
    """Equal weights that sum to 1, with the gradient of the given weights.

    The straight-through estimator (Bengio, Léonard & Courville 2013): a hard choice forward, its
    soft weights backward. A single expert has weight 1, and its router still learns.
    """
    hard = torch.full_like(weights, 1 / weights.shape[-1])
    return hard + weights - weights.detach()


def gaussian_noise(scores: Tensor, spread: Tensor) -> Tensor:
    """Noisy scores ``s + N(0, 1) * softplus(spread)`` (Shazeer et al. 2017, eq. 4).

    Args:
        scores: Shape (decisions, experts).
        spread: Learned, before the softplus, same shape.
    """
    return scores + torch.randn_like(scores) * functional.softplus(spread)


def gumbel_noise(scores: Tensor, scale: float) -> Tensor:
    """Scores plus Gumbel noise: at scale 1 the best is a draw from their softmax (Gumbel 1954)."""
    return scores - scale * torch.empty_like(scores).exponential_().log()


def expected_load(scores: Tensor, noisy: Tensor, spread: Tensor, top_k: int) -> Tensor:
    """Expected number of decisions of each expert over its noise, that of the others fixed.

    ``sum_x Phi((s_i(x) - kth_excluding(H(x), k, i)) / softplus(spread_i(x)))`` (Shazeer et al.
    2017, eq. 8-10): smooth in the scores, which the number of decisions itself is not.

    Args:
        scores: Without noise, shape (decisions, experts).
        noisy: ``H``, with noise, same shape.
        spread: As in ``gaussian_noise``.
        top_k: Experts that are selected, fewer than all.

    Returns:
        Shape (experts,).
    """
    best = noisy.topk(top_k + 1, dim=-1).values
    last_in, first_out = best[:, -2, None], best[:, -1, None]
    # To be chosen, an expert must beat the k-th best of the others.
    to_beat = torch.where(noisy > first_out, first_out, last_in)
    deviations = (scores - to_beat) / functional.softplus(spread).clamp_min(1e-6)
    chance: Tensor = torch.special.ndtr(deviations)
    return chance.sum(dim=0)


def sinkhorn(scores: Tensor, iterations: int = 8) -> Tensor:
    """Scores after Sinkhorn's iterations, which balance the load of the experts.

    Rows and columns of ``exp(scores)`` are scaled in turn until each decision sums to 1 and each
    expert to decisions / experts (Sinkhorn & Knopp 1967): optimal transport with entropy, as in
    S-BASE (Clark et al. 2022).

    Args:
        scores: Shape (decisions, experts).
        iterations: Of rows and columns.

    Returns:
        Logarithms, same shape, without gradient.
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
    """Each expert chooses its frames (expert choice, Zhou et al. 2022).

    An expert takes the ``ceil(per_frame * frames / experts)`` frames of every utterance in which
    its probability is greatest. (The paper chooses among a whole batch. Within an utterance the
    output does not depend on the rest of the batch; it still depends on future frames.)

    Args:
        probabilities: Shape (frames, experts).
        utterance: Utterance of each frame, ascending, shape (frames,).
        num_utterances: How many there are.
        per_frame: Experts that a frame gets on average, ``c`` in the paper.

    Returns:
        Index of the frame and of the expert of each selected pair, each of shape (pairs,).
    """
    num_frames, num_experts = probabilities.shape
    lengths = torch.bincount(utterance, minlength=num_utterances)
    # Sorted by probability, then stably by utterance: each utterance's frames, best first.
    by_probability = probabilities.detach().argsort(dim=0, descending=True, stable=True)
    by_utterance = utterance[by_probability].argsort(dim=0, stable=True)
    frames = by_probability.gather(0, by_utterance)  # (N, E)
    start = lengths.cumsum(0) - lengths
    rank = torch.arange(num_frames, device=utterance.device) - start[utterance]
    # In float64: float32 would take 15.000001 for more than 15.
    taken = torch.ceil(lengths.double() * per_frame / num_experts - 1e-9).long()
    row, expert = (rank < taken[utterance])[:, None].expand(-1, num_experts).nonzero(as_tuple=True)
    return frames[row, expert], expert


def position_in_expert(expert: Tensor, num_experts: int) -> Tensor:
    """How many earlier entries have the same expert, shape (entries,).

    Args:
        expert: Expert of each entry, shape (entries,).
        num_experts: How many there are.
    """
    order = expert.argsort(stable=True)
    counts = torch.bincount(expert, minlength=num_experts)
    start = counts.cumsum(0) - counts
    rank = torch.empty_like(expert)
    rank[order] = torch.arange(len(expert), device=expert.device) - start[expert[order]]
    return rank
