"""Routers: they select the experts for each frame or utterance.

Soft layers are in ``mixture.sparse.soft``. The input of a router has real frames only, and it
computes in float32 at any precision of the model.

Legend: D decisions (frames or utterances), C channels, E experts, K selected, B batch, T frames.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.sparse.balance import SelectionBias, mean_probability, share_of_choices
from phoneme_moe.mixture.sparse.scores import (
    Scores,
)
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
