"""Sparse feed-forward layer: each frame is computed by a few of many experts.

    real frames --router--> choice --capacity--> assignment --expert products--> weighted sum

Experts that are not selected are not computed. Padding is never routed, counted or balanced, and
the output for an utterance does not depend on the rest of the batch (except in training with a
capacity or balanced assignment, which apply to the whole batch).

Legend: B batch, T frames, C channels, N real frames, E experts, K selected for each, A assignments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.networks.functions import FunctionNetwork
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.mixture.routing import all_real
from phoneme_moe.mixture.sparse.balance import (
    BalanceTerm,
    SelectionBias,
    count_decisions,
    squared_variation,
    summed_weights,
    switch_loss_of_levels,
    z_loss,
)
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.expert_rows import Assignment
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting, RouterContext
from phoneme_moe.mixture.sparse.routers import ExpertChoice, Router, TokenChoice
from phoneme_moe.mixture.sparse.scores import ContextWindow, LinearScores, mean_over_frames
from phoneme_moe.mixture.sparse.selection import Choice, choose_frames, position_in_expert

Sees = Literal["frame", "context", "utterance", "embedding", "rule"]


@dataclass(frozen=True)
class BalanceWeights:
    """Weights of the balancing losses in the training loss; 0 for none.

    Attributes:
        switch: Weight of ``switch_loss`` (at every level of a tree).
        importance: Weight of ``importance_loss``.
        load: Weight of the squared coefficient of variation of ``expected_load``.
        z: Weight of ``z_loss``.
    """

    switch: float = 0.0
    importance: float = 0.0
    load: float = 0.0
    z: float = 0.0


class SparseFeedForward(nn.Module):
    """Routed experts, and shared experts that are always active."""

    def __init__(
        self,
        experts: ExpertFeedForward,
        router: Router | None = None,
        *,
        top_k: int = 2,
        sees: Sees = "frame",
        beside: ContextWindow | FunctionNetwork | None = None,
        balance: BalanceWeights | None = None,
        capacity: float | None = None,
        shared: nn.Module | None = None,
        name: str = "experts",
    ) -> None:
        """Combines the parts.

        Args:
            experts: The routed experts.
            router: Their router; by default learned linear scores of each frame, of which the
                ``top_k`` highest select (``TokenChoice``).
            top_k: Experts per frame of the default router.
            sees: Input of the router: each ``frame``; each frame in its ``context`` window; the
                mean of an ``utterance``, whose frames then share one decision; an external
                ``embedding`` of the utterance; or the scores that a ``rule`` computes from the
                model input.
            beside: The context window or the rule, if the router uses one.
            balance: Weights of the balancing losses.
            capacity: In training an expert takes at most ``capacity`` times an equal share of a
                batch; further frames are dropped (Switch). None for no limit.
            shared: The shared experts (DeepSeekMoE 2024).
            name: Name of the layer in reports.

        Raises:
            ValueError: The number of experts of the router differs.
        """
        super().__init__()
        if router is None:
            router = TokenChoice(LinearScores(experts.num_features, experts.num_experts), top_k)
        if router.num_experts != experts.num_experts:
            raise ValueError(
                f"router: found {router.num_experts} experts, expected {experts.num_experts}"
            )
        self.name = name
        self.experts = experts
        self.router = router
        self.sees = sees
        self.beside = beside
        self.balance = balance or BalanceWeights()
        self.capacity = capacity
        self.shared = shared

    def forward(
        self, frames: Tensor, mask: Tensor | None = None, context: RouterContext | None = None
    ) -> tuple[Tensor, LayerRouting]:
        """The weighted sum of the experts' outputs for each frame.

        Args:
            frames: Shape (batch, frames, channels), or (cases, channels) for data without time
                (which ``ExpertChoice`` treats as the frames of one utterance).
            mask: True for real frames, shape (batch, frames); all by default.
            context: Further inputs of the router; none by default.

        Returns:
            Outputs in the shape of the frames, zero where masked, and the routing.
        """
        if frames.dim() == 2:
            if isinstance(self.router, ExpertChoice):
                output, routing = self(frames[None], None, context)
                return output[0], replace(routing, mask=routing.mask[0])
            output, routing = self(frames[:, None], None, context)
            return output[:, 0], replace(routing, mask=routing.mask[:, 0])
        mask = all_real(frames) if mask is None else mask
        context = context or RouterContext()
        batch, num_frames, channels = frames.shape
        rows = mask.flatten().nonzero()[:, 0]  # (N,)
        utterance = rows // num_frames
        override = None if context.override is None else context.override.of_layer(self.name)
        decided = self._select(self._router_inputs(frames, mask, rows, context), override)
        by_utterance = self.sees in {"utterance", "embedding"}
        choice = decided.for_frames(utterance) if by_utterance else decided
        dropped = frames.new_zeros(())
        if isinstance(self.router, ExpertChoice):
            assert choice.probabilities is not None
            per_frame = self.router.experts_per_frame
            token, expert = choose_frames(choice.probabilities, utterance, batch, per_frame)
            weight = choice.probabilities[token, expert]
            counts = count_decisions(expert, self.experts.num_experts)
        else:
            counts = count_decisions(decided.experts, self.experts.num_experts)
            num_chosen = choice.experts.shape[1]
            token = torch.arange(rows.shape[0], device=rows.device)
            if self.capacity is not None and self.training:
                # All first choices come before all second choices, so that they take precedence.
                expert, weight = choice.experts.T.flatten(), choice.weights.T.flatten()
                most = math.ceil(self.capacity * len(expert) / self.experts.num_experts)
                kept = position_in_expert(expert, self.experts.num_experts) < most
                dropped = 1 - kept.float().mean()
                token, expert, weight = token.repeat(num_chosen)[kept], expert[kept], weight[kept]
            else:
                # In the order of frames, so that summing by token needs no sorting.
                expert, weight = choice.experts.flatten(), choice.weights.flatten()
                token = token.repeat_interleave(num_chosen)
        assignment = Assignment(rows[token], expert, weight)
        output = self.experts(frames.reshape(-1, channels), assignment)
        output = output.reshape(batch, num_frames, channels)
        if self.shared is not None:
            output = output + self.shared(frames) * mask[..., None]
        return output, LayerRouting(
            layer=self.name,
            mask=mask,
            rows=rows,
            assignment=assignment,
            num_experts=self.experts.num_experts,
            probabilities=choice.probabilities,
            counts=counts,
            dropped=dropped,
            entropy=self.router.entropy(decided),
            balance=tuple(self._balance(decided)),
        )

    def _select(self, inputs: Tensor, override: RoutingOverride | None) -> Choice:
        """Selects experts, given router inputs of shape (decisions, channels)."""
        if override is None:
            choice: Choice = self.router(inputs)
            return choice
        if not self.router.can_be_overridden:
            raise InputError(
                f"layer {self.name}: its routing cannot be overridden; expected a layer in which "
                "each frame selects among all experts"
            )
        choice = self.router(inputs, override.allowed(inputs.device))
        if override.shares:
            choice = choice.with_shares(torch.tensor(override.shares, device=inputs.device))
        return choice

    def _router_inputs(
        self, frames: Tensor, mask: Tensor, rows: Tensor, context: RouterContext
    ) -> Tensor:
        """Input of the router, shape (decisions, channels)."""
        if self.sees == "utterance":
            return mean_over_frames(frames, mask)
        if self.sees == "embedding":
            assert context.embedding is not None
            return context.embedding
        if self.sees == "context":
            assert self.beside is not None
            frames = self.beside(frames, mask)
        elif self.sees == "rule":
            assert self.beside is not None
            assert context.features is not None
            frames = self.beside(context.features[None], mask[None])[0]
        # Indexing by [rows] would accumulate the gradient row by row.
        return frames.flatten(0, 1).index_select(0, rows)

    def _balance(self, choice: Choice) -> Iterator[BalanceTerm]:
        """The balancing losses; those with weight 0 are not computed."""
        weights, num_decisions = self.balance, len(choice.experts)
        if weights.switch:
            statistics = tuple(chain(*choice.levels))
            yield BalanceTerm(weights.switch, switch_loss_of_levels, statistics, num_decisions)
        if weights.importance:
            summed = summed_weights(choice.experts, choice.weights, self.experts.num_experts)
            yield BalanceTerm(weights.importance, squared_variation, (summed,))
        if weights.load and choice.load is not None:
            yield BalanceTerm(weights.load, squared_variation, (choice.load,))
        if weights.z and choice.scores is not None:
            yield BalanceTerm(weights.z, torch.mean, (z_loss(choice.scores),), num_decisions)

    @property
    def bias(self) -> SelectionBias | None:
        """The selection biases, if there are any."""
        return self.router.bias

    def update_bias(self, counts: Tensor) -> None:
        """Updates the selection biases; not called in evaluation.

        Args:
            counts: Number of decisions of a training step that selected each expert, shape
                (experts,).
        """
        self.router.update_bias(counts)

    def reset_counts(self) -> None:
        """Resets the counts of the selection biases at the beginning of an epoch."""
        if self.bias is not None:
            self.bias.reset_counts()
