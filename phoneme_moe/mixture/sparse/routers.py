"""Routers: they select the experts for each frame or utterance.

Soft layers are in ``mixture.sparse.soft``. The input of a router has real frames only, and it
computes in float32 at any precision of the model.

Legend: D decisions (frames or utterances), C channels, E experts, K selected, B batch, T frames.
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
    expected_load,
    gaussian_noise,
    gumbel_noise,
    selection_weights,
    sinkhorn,
    straight_through,
    to_probabilities,
    top_indices,
)

Noise = Literal["none", "gaussian", "jitter", "gumbel"]
Selection = Literal["top_k", "balanced"]

INITIAL_SPREAD = 0.02
"""Standard deviation of a learned router's initial weights: nearly uniform probabilities."""


class Scores(nn.Module):
    """Maps the inputs of a router to a score for each expert.

    Attributes:
        num_features: Channels of the inputs.
        num_experts: Number of experts.
    """

    def __init__(self, num_features: int, num_experts: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.num_experts = num_experts


class LinearScores(Scores):
    """Learned scores: a linear map without bias, in float32 (Switch: Fedus et al. 2021)."""

    def __init__(self, num_features: int, num_experts: int) -> None:
        super().__init__(num_features, num_experts)
        self.weight = nn.Parameter(torch.randn(num_experts, num_features) * INITIAL_SPREAD)

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps inputs of shape (decisions, channels) to scores of shape (decisions, experts)."""
        with torch.autocast(inputs.device.type, enabled=False):
            return functional.linear(inputs.float(), self.weight.float())


class HashScores(Scores):
    """Scores that are not learned: cosines with fixed random directions.

    Hash layers (Roller et al. 2021) hash a word. A frame has none, so the direction of its vector
    is hashed (cross-polytope hashing: Andoni et al. 2015), and similar frames get the same experts.
    """

    directions: Tensor

    def __init__(self, num_features: int, num_experts: int, seed: int = 0) -> None:
        super().__init__(num_features, num_experts)
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(num_experts, num_features, generator=generator)
        self.register_buffer("directions", functional.normalize(directions, dim=-1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Cosines with the directions, shape (decisions, experts), without gradient."""
        with torch.autocast(inputs.device.type, enabled=False):
            unit = functional.normalize(inputs.detach().float(), dim=-1)
            return functional.linear(unit, self.directions.float())


class GivenScores(Scores):
    """The scores of a rule, passed through."""

    def __init__(self, num_experts: int) -> None:
        super().__init__(num_experts, num_experts)

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs, shape (decisions, experts)."""
        return inputs


class Router(nn.Module):
    """Maps inputs of shape (decisions, channels) to the experts of each decision (``Choice``).

    Attributes:
        num_experts: Number of experts.
        top_k: Experts that each decision selects.
        bias: Selection biases for balancing without a loss, if any.
    """

    num_experts: int
    top_k: int
    bias: SelectionBias | None

    @property
    def experts_per_frame(self) -> float:
        """Experts that compute a frame, on average."""
        return self.top_k

    @property
    def can_be_overridden(self) -> bool:
        """Whether experts can be excluded from the selection (``RoutingOverride``)."""
        return False

    @torch.no_grad()
    def entropy(self, choice: Choice) -> Tensor:
        """Mean entropy of the decisions in nats."""
        amounts = choice.weights if choice.probabilities is None else choice.probabilities
        share = amounts / amounts.sum(dim=-1, keepdim=True).clamp_min(1e-9)
        entropy: Tensor = torch.special.entr(share).sum()
        return entropy / max(len(share), 1)

    def update_bias(self, counts: Tensor) -> None:
        """Updates the selection biases, if any, after a training step.

        Args:
            counts: Number of decisions of the step that selected each expert, shape (experts,).
        """


class TokenChoice(Router):
    """Each decision selects its experts: top-1 (Switch), top-k or balanced assignment."""

    offset: Tensor

    def __init__(
        self,
        scores: Scores,
        top_k: int,
        *,
        score: Score = "softmax",
        weighting: Weighting = "after",
        noise: Noise = "none",
        noise_scale: float = 1.0,
        straight_through: bool = False,
        selection: Selection = "top_k",
        bias: SelectionBias | None = None,
    ) -> None:
        """Creates the router.

        Args:
            scores: Computes the score of every expert (``LinearScores``, ``HashScores``,
                ``GivenScores``).
            top_k: Experts that each decision selects.
            score: ``softmax`` over the experts, or an independent ``sigmoid`` for each.
            weighting: Whether weights are normalised ``before`` or ``after`` selection
                (``selection_weights``).
            noise: Noise in training: ``gaussian`` with a learned standard deviation (Shazeer et al.
                2017); ``jitter`` multiplies the inputs by a random factor within ``1 +-
                noise_scale`` (Switch); ``gumbel`` samples experts instead of selecting the best.
            noise_scale: Width of the jitter or scale of the Gumbel noise.
            straight_through: Whether selected experts have equal weights and the router learns by
                the straight-through estimator.
            selection: ``top_k``; or ``balanced``, which in training selects experts equally often
                in every batch (``sinkhorn``) and otherwise equals ``top_k``.
            bias: Added to the probabilities, for selection only.
        """
        super().__init__()
        self.scores = scores
        self.num_experts = scores.num_experts
        self.top_k = top_k
        self.score: Score = score
        self.weighting: Weighting = weighting
        self.noise = noise
        self.noise_scale = noise_scale
        self.straight_through = straight_through
        self.selection = selection
        self.bias = bias
        # Subtracted from the scores of new experts (``training.grow``); 0 after their introduction.
        self.register_buffer("offset", torch.zeros(scores.num_experts))
        self.spread = (
            nn.Parameter(torch.zeros(scores.num_experts, scores.num_features))
            if noise == "gaussian"
            else None
        )

    @property
    def can_be_overridden(self) -> bool:
        """Each decision selects among all experts, so any of them can be excluded."""
        return True

    def forward(self, inputs: Tensor, allowed: Tensor | None = None) -> Choice:
        """Selects experts.

        Args:
            inputs: Shape (decisions, channels).
            allowed: Experts that may be selected, shape (experts,), boolean; all by default.
        """
        if self.training and self.noise == "jitter":
            inputs = inputs * (1 + self.noise_scale * (2 * torch.rand_like(inputs) - 1))
        clean: Tensor = self.scores(inputs) - self.offset
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
        probabilities = to_probabilities(noisy, self.score)
        ranking = probabilities.detach()
        if self.selection == "balanced" and self.training:
            ranking = sinkhorn(noisy)
        elif self.bias is not None:
            # New experts are not selected, whatever their bias.
            ranking = ranking + self.bias.bias - self.offset
        top_k = self.top_k
        if allowed is not None:
            ranking = ranking.masked_fill(~allowed, -torch.inf)
            top_k = min(top_k, int(allowed.sum()))
        experts = top_indices(ranking, top_k)
        weights = selection_weights(noisy, probabilities, experts, self.score, self.weighting)
        if self.straight_through:
            weights = straight_through(weights)
        raw = probabilities if noisy is clean else to_probabilities(clean, self.score)
        sums_to_one = self.score == "softmax"
        mean = mean_probability(probabilities, sums_to_one)
        level = mean, share_of_choices(experts, self.num_experts)
        return Choice(experts, weights, (level,), clean, raw, load)

    @torch.no_grad()
    def entropy(self, choice: Choice) -> Tensor:
        """Mean entropy of the decisions in nats."""
        # A bias may select an expert of probability 0, whose logarithm is not finite.
        plain = self.score == "softmax" and self.bias is None
        if not plain or choice.scores is None or choice.probabilities is None:
            return super().entropy(choice)
        # logsumexp(s) - sum p s, where logsumexp(s) = s - log p of the best expert, which saves a
        # pass over all experts. Excluded experts have a score of -inf and probability 0.
        best = choice.experts[:, :1]
        log_sum = choice.scores.gather(1, best) - choice.probabilities.gather(1, best).log()
        scores = choice.scores.float().clamp_min(-1e4)
        mean = torch.dot(choice.probabilities.flatten(), scores.flatten())
        return ((log_sum.sum() - mean) / max(len(best), 1)).clamp_min(0)

    def update_bias(self, counts: Tensor) -> None:
        """Updates the selection biases after a training step."""
        if self.bias is not None:
            self.bias.count(counts, self.offset)


class ExpertChoice(TokenChoice):
    """Each expert selects its frames (Zhou et al. 2022; ``selection.choose_frames``).

    The weight of a frame is its probability for the expert; a frame may get no expert.
    """

    def __init__(
        self,
        scores: Scores,
        experts_per_frame: float,
        *,
        score: Score = "softmax",
        weighting: Weighting = "after",
        bias: SelectionBias | None = None,
    ) -> None:
        """Creates the router.

        Args:
            scores: Computes the score of every expert.
            experts_per_frame: Experts that a frame gets on average, ``c`` in the paper.
            score: ``softmax`` over the experts, or an independent ``sigmoid`` for each.
            weighting: As in ``TokenChoice``; only for the balancing losses, which use the experts
                that the frames would have selected.
            bias: As in ``TokenChoice``.
        """
        top_k = max(1, math.ceil(experts_per_frame))
        super().__init__(scores, top_k, score=score, weighting=weighting, bias=bias)
        self.capacity_factor = experts_per_frame

    @property
    def experts_per_frame(self) -> float:
        """Experts that compute a frame, on average."""
        return self.capacity_factor

    @property
    def can_be_overridden(self) -> bool:
        """No: experts select frames, and cannot be excluded for some of them."""
        return False


class TreeChoice(Router):
    """Hierarchical selection: first a group, then an expert within it; a tree of any depth.

    The probability of an expert is the product of the decisions on its path (Jordan & Jacobs 1994).
    Only selected groups are scored, so the cost grows with the depth and not with the number of
    experts. ``top_k`` paths are kept at every level (beam search). ``trees.hierarchy`` is the soft
    tree, in which every leaf has a weight.
    """

    def __init__(
        self, num_features: int, levels: Sequence[int], top_k: int, weighting: Weighting = "after"
    ) -> None:
        """Creates the router with initial weights.

        Args:
            num_features: Channels of the inputs.
            levels: Branches at every level from the root; their product is the number of experts.
            top_k: Experts that each decision selects, at most the first level's branches.
            weighting: Weights are the path probabilities (``before``), or normalised over the
                selected paths (``after``).
        """
        super().__init__()
        self.levels = tuple(levels)
        self.num_experts = math.prod(levels)
        self.top_k = top_k
        self.weighting: Weighting = weighting
        self.bias = None
        nodes = [math.prod(self.levels[:depth]) for depth in range(len(self.levels))]
        self.weights = nn.ParameterList(
            torch.randn(count, num_features, branches) * INITIAL_SPREAD
            for count, branches in zip(nodes, self.levels, strict=True)
        )

    def forward(self, inputs: Tensor) -> Choice:
        """Selects experts for inputs of shape (decisions, channels)."""
        inputs = inputs.float()
        decisions = inputs.shape[0]
        node = torch.zeros(decisions, 1, dtype=torch.long, device=inputs.device)
        log_path = inputs.new_zeros(decisions, 1)
        levels = []
        with torch.autocast(inputs.device.type, enabled=False):
            for weight, branches in zip(self.weights, self.levels, strict=True):
                scores = _branch_scores(inputs, node, weight.float())  # (D, K, branches)
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


def _branch_scores(inputs: Tensor, node: Tensor, weight: Tensor) -> Tensor:
    """Scores of the branches of the nodes that each decision has kept.

    Args:
        inputs: Shape (decisions, channels).
        node: Index of each kept node, shape (decisions, kept).
        weight: Weights of all nodes of the level, shape (nodes, channels, branches).

    Returns:
        Shape (decisions, kept, branches).
    """
    if len(weight) == 1:
        return (inputs @ weight[0])[:, None]
    if torch.onnx.is_in_onnx_export():  # sorting is not stable in ONNX
        return torch.einsum("dc,dkcb->dkb", inputs, weight[node])
    decisions, kept = node.shape
    branches = weight.shape[-1]
    flat = node.flatten()
    order = flat.argsort(stable=True)
    rows = inputs[order // kept]
    # One grouped product for all nodes; its sizes must be multiples of 16 bytes.
    missing = -branches % 4
    if inputs.dtype == torch.float32 and inputs.shape[1] % 4 == 0:
        ends = torch.bincount(flat, minlength=len(weight)).cumsum(0).to(torch.int32)
        padded = functional.pad(weight, (0, missing))
        scores = functional.grouped_mm(rows, padded, offs=ends)[:, :branches]
    else:
        scores = torch.einsum("rc,rcb->rb", rows, weight[flat[order]])
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return scores[place].reshape(decisions, kept, branches)


class ContextWindow(nn.Module):
    """A small TDNN over a frame and its neighbours, as the input of a router."""

    def __init__(self, num_features: int, width: int, window: int) -> None:
        """Creates the layers with initial weights.

        Args:
            num_features: Channels of a frame.
            width: Channels of the router's input.
            window: Frames of the context, 4 n + 1: two layers of (window + 1) / 2 frames.
        """
        super().__init__()
        self.kernel = (window + 1) // 2
        self.first = nn.Linear(num_features, width)
        self.second = nn.Linear(width * self.kernel, width)
        self.third = nn.Linear(width * self.kernel, width)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Maps (batch, frames, channels) to (batch, frames, width)."""
        real = mask[..., None]
        hidden = functional.relu(self.first(frames)) * real
        hidden = functional.relu(self.second(splice(hidden, self.kernel))) * real
        output: Tensor = self.third(splice(hidden, self.kernel))
        return output


def mean_over_frames(frames: Tensor, mask: Tensor) -> Tensor:
    """Mean of an utterance's real frames, shape (batch, channels)."""
    real = mask[..., None].to(frames.dtype)
    return (frames * real).sum(dim=1) / real.sum(dim=1).clamp_min(1)
