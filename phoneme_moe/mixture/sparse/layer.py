"""A feed-forward layer of many experts, few of which are asked for each frame.

    real frames --router--> choice --capacity--> assignment --grouped products--> sum, by weight

What the router leaves out is not computed. Padding is never routed, counted or balanced, and an
utterance's answer does not depend on the rest of the batch (in training it does, where a capacity
or balanced assignment looks at the whole batch).

Legend: B batch, T frames, C channels, N real frames, E experts, K chosen for each, A assignments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.networks.functions import FunctionNetwork
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.mixture.sparse.balance import (
    SelectionBias,
    count_decisions,
    importance_loss,
    squared_variation,
    switch_loss,
    z_loss,
)
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.expert_rows import Assignment
from phoneme_moe.mixture.sparse.layer_routing import CHOOSING, LayerRouting, RouterContext
from phoneme_moe.mixture.sparse.routers import (
    ContextWindow,
    TokenChoice,
    TreeChoice,
    mean_over_frames,
)
from phoneme_moe.mixture.sparse.selection import Choice, choose_frames, rank_in_expert

Sees = Literal["frame", "context", "utterance", "embedding", "rule"]


@dataclass(frozen=True)
class BalanceWeights:
    """What each balancing loss counts in the training loss; 0 leaves it out.

    Attributes:
        switch: Of ``switch_loss`` (at every level of a tree).
        importance: Of ``importance_loss``.
        load: Of the squared variation of ``expected_load``.
        z: Of ``z_loss``.
    """

    switch: float = 0.0
    importance: float = 0.0
    load: float = 0.0
    z: float = 0.0


class SparseFeedForward(nn.Module):
    """Experts behind a router, beside experts that are always asked."""

    def __init__(
        self,
        name: str,
        experts: ExpertFeedForward,
        router: TokenChoice | TreeChoice,
        sees: Sees = "frame",
        beside: ContextWindow | FunctionNetwork | None = None,
        balance: BalanceWeights | None = None,
        capacity: float | None = None,
        frames_choose: float | None = None,
        shared: nn.Module | None = None,
    ) -> None:
        """Puts the parts together.

        Args:
            name: What the layer is called in reports.
            experts: All of one shape.
            router: Chooses among them.
            sees: What the router looks at: each ``frame``; each frame through a ``context`` window;
                the mean of an ``utterance``, all of whose frames then go the same way; an
                ``embedding`` of the utterance from outside; or the scores that a ``rule`` gives on
                the features that the model itself is given.
            beside: The window or the rule, where it sees one.
            balance: Losses that keep the experts equally busy.
            capacity: In training an expert takes at most ``capacity`` times its equal share of a
                batch; who comes too late is passed on by the residual (Switch). None takes all.
            frames_choose: Experts choose frames (``choose_frames``), this many for each on average.
            shared: Always on, beside the experts (DeepSeekMoE 2024).
        """
        super().__init__()
        self.name = name
        self.experts = experts
        self.router = router
        self.sees = sees
        self.beside = beside
        self.balance = balance or BalanceWeights()
        self.capacity = capacity
        self.frames_choose = frames_choose
        self.shared = shared

    def forward(
        self, frames: Tensor, mask: Tensor, surroundings: RouterContext
    ) -> tuple[Tensor, LayerRouting]:
        """What the experts make of the frames.

        Args:
            frames: Shape (batch, frames, channels).
            mask: Real frames, shape (batch, frames).
            surroundings: What the router may see besides.

        Returns:
            Shape (batch, frames, channels), zero where masked; and who was asked.
        """
        batch, num_frames, channels = frames.shape
        rows = mask.flatten().nonzero()[:, 0]  # (N,)
        utterance = rows // num_frames
        choice = self._choose(self._seen(frames, mask, rows, surroundings), surroundings.override)
        of_utterances = self.sees in {"utterance", "embedding"}
        probabilities = choice.probabilities
        if probabilities is not None and of_utterances:
            probabilities = probabilities[utterance]
        dropped = frames.new_zeros(())
        if self.frames_choose is not None:
            assert probabilities is not None
            token, expert = choose_frames(probabilities, utterance, batch, self.frames_choose)
            weight = probabilities[token, expert]
            counts = count_decisions(expert, self.experts.num_experts)
        else:
            counts = count_decisions(choice.experts, self.experts.num_experts)
            of_frames = choice.experts, choice.weights
            if of_utterances:
                of_frames = choice.experts[utterance], choice.weights[utterance]
            chosen = choice.experts.shape[1]
            token = torch.arange(rows.shape[0], device=rows.device)
            if self.capacity is not None and self.training:
                # All first choices come before all second ones, so that they are served first.
                expert, weight = (value.T.flatten() for value in of_frames)
                most = math.ceil(self.capacity * len(expert) / self.experts.num_experts)
                kept = rank_in_expert(expert, self.experts.num_experts) < most
                dropped = 1 - kept.float().mean()
                token, expert, weight = token.repeat(chosen)[kept], expert[kept], weight[kept]
            else:
                # Frame by frame: combining then needs no sorting.
                expert, weight = (value.flatten() for value in of_frames)
                token = token.repeat_interleave(chosen)
        assignment = Assignment(rows[token], expert, weight)
        output = self.experts(frames.reshape(-1, channels), assignment)
        output = output.reshape(batch, num_frames, channels)
        if self.shared is not None:
            output = output + self.shared(frames) * mask[..., None]
        return output, LayerRouting(
            self.name,
            mask,
            rows,
            assignment,
            self.experts.num_experts,
            probabilities,
            counts,
            dropped,
            self._entropy(choice),
            self._loss(choice),
        )

    def _choose(self, seen: Tensor, override: RoutingOverride | None) -> Choice:
        """Who is asked, of inputs of shape (decisions, channels)."""
        if override is None or not override.means(self.name):
            choice: Choice = self.router(seen)
            return choice
        if not isinstance(self.router, TokenChoice) or self.frames_choose is not None:
            raise InputError(
                f"layer {self.name}: its router cannot be told whom to ask; {CHOOSING}"
            )
        choice = self.router(seen, override.allowed(seen.device))
        if override.shares:
            choice = choice.with_shares(torch.tensor(override.shares, device=seen.device))
        return choice

    def _seen(self, frames: Tensor, mask: Tensor, rows: Tensor, around: RouterContext) -> Tensor:
        """What the router decides on, shape (decisions, channels)."""
        if self.sees == "utterance":
            return mean_over_frames(frames, mask)
        if self.sees == "embedding":
            assert around.embedding is not None
            return around.embedding
        if self.sees == "context":
            assert self.beside is not None
            frames = self.beside(frames, mask)
        elif self.sees == "rule":
            assert self.beside is not None
            frames = self.beside(around.features[None], mask[None])[0]
        # Not [rows], whose gradient is added up row by row.
        return frames.flatten(0, 1).index_select(0, rows)

    def _loss(self, choice: Choice) -> Tensor:
        """Balancing losses by their weights; those of weight 0 are not computed."""
        weights = self.balance
        loss = choice.weights.new_zeros((), dtype=torch.float32)
        if len(choice.experts) == 0:
            return loss
        if weights.switch:
            loss = loss + weights.switch * sum(switch_loss(p, f) for p, f in choice.levels)
        if weights.importance:
            found = importance_loss(choice.experts, choice.weights, self.experts.num_experts)
            loss = loss + weights.importance * found
        if weights.load and choice.load is not None:
            loss = loss + weights.load * squared_variation(choice.load)
        if weights.z and choice.scores is not None:
            loss = loss + weights.z * z_loss(choice.scores)
        return loss

    @torch.no_grad()
    def _entropy(self, choice: Choice) -> Tensor:
        """Mean entropy of the decisions in nats."""
        softmax = isinstance(self.router, TokenChoice) and self.router.score == "softmax"
        # Biases may choose an expert whose probability is nothing, of which there is no logarithm.
        plain = softmax and self.bias is None
        if plain and choice.scores is not None and choice.probabilities is not None:
            # log sum exp s - sum p s, with the former from the best one's s - log p: no logarithm
            # of all. Experts that may not be asked have a score of -inf and no probability.
            best = choice.experts[:, :1]
            of_best = choice.scores.gather(1, best) - choice.probabilities.gather(1, best).log()
            scores = choice.scores.float().clamp_min(-1e4)
            mean = torch.dot(choice.probabilities.flatten(), scores.flatten())
            return ((of_best.sum() - mean) / max(len(best), 1)).clamp_min(0)
        said = choice.weights if choice.probabilities is None else choice.probabilities
        share = said / said.sum(dim=-1, keepdim=True).clamp_min(1e-9)
        entropy: Tensor = torch.special.entr(share).sum()
        return entropy / max(len(share), 1)

    @property
    def bias(self) -> SelectionBias | None:
        """The biases that balance without a loss, where there are any."""
        return self.router.bias if isinstance(self.router, TokenChoice) else None

    def learn_from(self, counts: Tensor) -> None:
        """Moves biases that balance without a loss; evaluation never calls this.

        Args:
            counts: How many decisions of a training step chose each expert, shape (experts,).
        """
        if isinstance(self.router, TokenChoice) and self.router.bias is not None:
            self.router.bias.count(counts, self.router.offset)

    def forget(self) -> None:
        """Begins an epoch: what was counted for the biases is forgotten."""
        if self.bias is not None:
            self.bias.forget()
