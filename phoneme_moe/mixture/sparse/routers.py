"""Routers: from what is known of a frame or an utterance to the few experts that are asked.

All but ``soft_experts`` (``mixture.sparse.soft``) are here. A router sees real decisions only and
computes in float32 whatever the precision around it.

Legend: D decisions (frames or utterances), C channels, E experts, K chosen, B batch, T frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.networks.time_delay import splice
from phoneme_moe.mixture.sparse.balance import SelectionBias, mean_probability, share_of_choices
from phoneme_moe.mixture.sparse.selection import (
    Choice,
    Score,
    Weighting,
    balance_by_transport,
    expected_load,
    gaussian_noise,
    greatest,
    gumbel_noise,
    probabilities_of,
    straight_through,
    weigh,
)

Noise = Literal["none", "gaussian", "jitter", "gumbel"]
Selects = Literal["top_k", "balanced"]

INITIAL_SPREAD = 0.02
"""Standard deviation of a learned router's first weights: near uniform, yet no two alike."""


class LinearScores(nn.Module):
    """Learned scores: a linear map without bias, in float32 (Switch: Fedus et al. 2021)."""

    def __init__(self, num_features: int, num_experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_experts, num_features) * INITIAL_SPREAD)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of shape (decisions, experts) from inputs of shape (decisions, channels)."""
        with torch.autocast(inputs.device.type, enabled=False):
            return functional.linear(inputs.float(), self.weight.float())


class HashScores(nn.Module):
    """Scores that are never learned: the nearest of fixed random directions is the hash.

    Hash layers (Roller et al. 2021) hash a word; a frame has none, so it is hashed by the direction
    of its vector (cross-polytope hashing: Andoni et al. 2015): like frames, like experts.
    """

    directions: Tensor

    def __init__(self, num_features: int, num_experts: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(num_experts, num_features, generator=generator)
        self.register_buffer("directions", functional.normalize(directions, dim=-1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Cosines with the directions, shape (decisions, experts), without gradient."""
        with torch.autocast(inputs.device.type, enabled=False):
            unit = functional.normalize(inputs.detach().float(), dim=-1)
            return functional.linear(unit, self.directions.float())


class TokenChoice(nn.Module):
    """Each decision chooses its experts: top-1 (Switch), top-k, balanced assignment."""

    offset: Tensor

    def __init__(
        self,
        scores: nn.Module | None,
        num_features: int,
        num_experts: int,
        top_k: int,
        score: Score = "softmax",
        weighting: Weighting = "after",
        noise: Noise = "none",
        noise_scale: float = 1.0,
        hard: bool = False,
        selects: Selects = "top_k",
        bias: SelectionBias | None = None,
    ) -> None:
        """Plain settings.

        Args:
            scores: From inputs, shape (decisions, channels), to shape (decisions, experts); None
                where the inputs are scores already.
            num_features: Channels of the inputs.
            num_experts: How many there are.
            top_k: Experts that each decision chooses.
            score: ``softmax`` over the experts, or each one's own ``sigmoid``.
            weighting: Whether weights are taken ``before`` selection or ``after`` (``weigh``).
            noise: In training: ``gaussian`` with a learned spread (Shazeer et al. 2017),
                ``jitter`` multiplies the inputs by a factor within ``1 +- noise_scale`` (Switch),
                ``gumbel`` draws experts instead of taking the best.
            noise_scale: See there.
            hard: Chosen experts count alike and the router learns by the straight-through
                estimator.
            selects: ``top_k``, or ``balanced``: in training by ``balance_by_transport``, so that
                experts are chosen equally often in every batch; afterwards the best.
            bias: Added to probabilities for selection only.
        """
        super().__init__()
        self.scores = scores
        self.num_experts = num_experts
        self.top_k = top_k
        self.score: Score = score
        self.weighting: Weighting = weighting
        self.noise = noise
        self.noise_scale = noise_scale
        self.hard = hard
        self.selects = selects
        self.bias = bias
        # Taken off the scores of experts that are new (``training.grow``); 0 once they are in.
        self.register_buffer("offset", torch.zeros(num_experts))
        self.spread = (
            nn.Parameter(torch.zeros(num_experts, num_features)) if noise == "gaussian" else None
        )

    def forward(self, inputs: Tensor, allowed: Tensor | None = None) -> Choice:
        """Chooses.

        Args:
            inputs: Shape (decisions, channels).
            allowed: Which experts may be asked, shape (experts,), boolean; all when left out.
        """
        if self.training and self.noise == "jitter":
            inputs = inputs * (1 + self.noise_scale * (2 * torch.rand_like(inputs) - 1))
        clean = (inputs if self.scores is None else self.scores(inputs)) - self.offset
        if allowed is not None:
            clean = clean.masked_fill(~allowed, -torch.inf)
        noisy, load = clean, None
        if self.training and self.spread is not None:
            with torch.autocast(inputs.device.type, enabled=False):
                spread = functional.linear(inputs.float(), self.spread.float())
            noisy = gaussian_noise(clean, spread)
            if self.top_k < self.num_experts:
                load = expected_load(clean, noisy, spread, self.top_k)
        elif self.training and self.noise == "gumbel":
            noisy = gumbel_noise(clean, self.noise_scale)
        probabilities = probabilities_of(noisy, self.score)
        wanted = probabilities.detach()
        if self.selects == "balanced" and self.training:
            wanted = balance_by_transport(noisy)
        elif self.bias is not None:
            # Experts let in later stay out, whatever the bias says.
            wanted = wanted + self.bias.bias - self.offset
        top_k = self.top_k
        if allowed is not None:
            wanted = wanted.masked_fill(~allowed, -torch.inf)
            top_k = min(top_k, int(allowed.sum()))
        experts = greatest(wanted, top_k)
        weights = weigh(noisy, probabilities, experts, self.score, self.weighting)
        if self.hard:
            weights = straight_through(weights)
        raw = probabilities if noisy is clean else probabilities_of(clean, self.score)
        sums_to_one = self.score == "softmax"
        mean = mean_probability(probabilities, sums_to_one)
        level = mean, share_of_choices(experts, self.num_experts)
        return Choice(experts, weights, (level,), clean, raw, load)


class TreeChoice(nn.Module):
    """First a group, then an expert within it: a tree of any depth.

    The probability of an expert is the product of the decisions on its path (Jordan & Jacobs 1994).
    Only the groups that were chosen are looked into, so the cost grows with the depth and not with
    the number of experts. ``top_k`` paths are kept at every level (a beam: the best experts of a
    group that lost are not seen).
    """

    def __init__(
        self, num_features: int, levels: Sequence[int], top_k: int, weighting: Weighting = "after"
    ) -> None:
        """Plain settings.

        Args:
            num_features: Channels of the inputs.
            levels: Branches at every level from the root; their product is the number of experts.
            top_k: Experts that each decision chooses, at most the first level's branches.
            weighting: Weights are path probabilities as they are (``before``), or their shares
                among the chosen (``after``).
        """
        super().__init__()
        self.levels = tuple(levels)
        self.num_experts = math.prod(levels)
        self.top_k = top_k
        self.weighting: Weighting = weighting
        nodes = [math.prod(self.levels[:depth]) for depth in range(len(self.levels))]
        self.weights = nn.ParameterList(
            torch.randn(count, num_features, branches) * INITIAL_SPREAD
            for count, branches in zip(nodes, self.levels, strict=True)
        )

    def forward(self, inputs: Tensor) -> Choice:
        """Chooses; inputs of shape (decisions, channels)."""
        inputs = inputs.float()
        decisions = inputs.shape[0]
        node = torch.zeros(decisions, 1, dtype=torch.long, device=inputs.device)
        log_path = inputs.new_zeros(decisions, 1)
        levels = []
        with torch.autocast(inputs.device.type, enabled=False):
            for weight, branches in zip(self.weights, self.levels, strict=True):
                scores = _of_nodes(inputs, node, weight.float())  # (D, K, branches)
                log_child = log_path[..., None] + scores.log_softmax(dim=-1)
                child = node[..., None] * branches + torch.arange(branches, device=node.device)
                count = len(weight) * branches
                kept = log_child.flatten(1).topk(min(self.top_k, node.shape[1] * branches), dim=-1)
                node = child.flatten(1).gather(1, kept.indices)
                log_path = kept.values
                mean = inputs.new_zeros(count).index_add(
                    0, child.flatten(), log_child.exp().flatten()
                ) / max(decisions, 1)
                levels.append((mean, share_of_choices(node, count)))
        weights = log_path.softmax(dim=-1) if self.weighting == "after" else log_path.exp()
        return Choice(node, weights, tuple(levels))


def _of_nodes(inputs: Tensor, node: Tensor, weight: Tensor) -> Tensor:
    """Scores of the branches of the nodes that each decision stands at.

    Args:
        inputs: Shape (decisions, channels).
        node: Shape (decisions, kept).
        weight: Of all nodes of the level, shape (nodes, channels, branches).

    Returns:
        Shape (decisions, kept, branches).
    """
    if len(weight) == 1:
        return (inputs @ weight[0])[:, None]
    if torch.onnx.is_in_onnx_export():  # whose sorts are not stable
        return torch.einsum("dc,dkcb->dkb", inputs, weight[node])
    decisions, kept = node.shape
    branches = weight.shape[-1]
    flat = node.flatten()
    order = flat.argsort(stable=True)
    rows = inputs[order // kept]
    # One product for all nodes; its sizes must be multiples of 16 bytes.
    missing = -branches % 4
    if inputs.dtype == torch.float32 and inputs.shape[1] % 4 == 0:
        ends = torch.bincount(flat, minlength=len(weight)).cumsum(0).to(torch.int32)
        padded = functional.pad(weight, (0, missing))
        found = functional.grouped_mm(rows, padded, offs=ends)[:, :branches]
    else:
        found = torch.einsum("rc,rcb->rb", rows, weight[flat[order]])
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return found[back].reshape(decisions, kept, branches)


class ContextWindow(nn.Module):
    """What a frame and its neighbours are, through a small TDNN: content, not surface alone."""

    def __init__(self, num_features: int, width: int, window: int) -> None:
        """Plain sizes.

        Args:
            num_features: Channels of a frame.
            width: Channels of what the router sees.
            window: Frames seen, 4 n + 1: two layers of (window + 1) / 2 frames.
        """
        super().__init__()
        self.kernel = (window + 1) // 2
        self.first = nn.Linear(num_features, width)
        self.second = nn.Linear(width * self.kernel, width)
        self.third = nn.Linear(width * self.kernel, width)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Shape (batch, frames, width); frames of shape (batch, frames, channels)."""
        real = mask[..., None]
        hidden = functional.relu(self.first(frames)) * real
        hidden = functional.relu(self.second(splice(hidden, self.kernel))) * real
        seen: Tensor = self.third(splice(hidden, self.kernel))
        return seen


def mean_over_frames(frames: Tensor, mask: Tensor) -> Tensor:
    """Mean of an utterance's real frames, shape (batch, channels)."""
    real = mask[..., None].to(frames.dtype)
    return (frames * real).sum(dim=1) / real.sum(dim=1).clamp_min(1)
