"""What a layer of experts is told besides its frames, and what it tells of whom it asked.

Legend: N real frames, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.mixture.routing import Routing
from phoneme_moe.mixture.sparse.expert_rows import Assignment

CHOOSING = "expected a layer in which each frame chooses among all experts"


@dataclass(frozen=True)
class RouterContext:
    """What a router may look at besides the frames of its layer.

    Attributes:
        features: What the model itself is given, shape (batch, frames, features).
        embedding: One vector of each utterance from outside, shape (batch, size); or None.
        override: Other experts than the routers would ask.
    """

    features: Tensor
    embedding: Tensor | None = None
    override: RoutingOverride | None = None


@dataclass(frozen=True)
class LayerRouting:
    """Who was asked in one sparse layer, for a batch.

    Attributes:
        layer: Which layer.
        mask: Real frames, shape (batch, frames).
        rows: Index of each real frame among all, shape (frames,).
        assignment: Who computed what; its tokens are rows.
        num_experts: How many there are.
        probabilities: Of the router before selection, for each real frame, shape (frames, experts);
            None where not all experts were scored.
        counts: How many decisions chose each expert, dropped ones included, shape (experts,).
        dropped: Share of them that found their expert full, 0..1.
        entropy: Mean entropy of the router's decision in nats, 0..log(experts).
        loss: Weighted sum of the balancing losses.
    """

    layer: str
    mask: Tensor
    rows: Tensor
    assignment: Assignment
    num_experts: int
    probabilities: Tensor | None
    counts: Tensor
    dropped: Tensor
    entropy: Tensor
    loss: Tensor

    @property
    def load(self) -> Tensor:
        """Each expert's share of the choices, sum 1, shape (experts,)."""
        return self.counts / self.counts.sum().clamp_min(1)

    def routing(self) -> Routing:
        """The same as the value that reports read, dense over experts.

        Weights are divided by their sum; a frame that all its experts dropped is divided evenly.
        """
        batch, frames = self.mask.shape
        flat = self.mask.new_zeros(batch * frames, self.num_experts, dtype=torch.float32)
        given = flat.index_put(
            (self.assignment.token, self.assignment.expert),
            self.assignment.weight.detach().float(),
            accumulate=True,
        )
        total = given.sum(dim=-1, keepdim=True)
        shares = torch.where(total > 0, given / total.clamp_min(1e-20), 1 / self.num_experts)
        log_weights = shares.log().reshape(batch, frames, self.num_experts)
        if self.probabilities is None:
            return Routing(log_weights, log_weights, self.mask, self.layer)
        said = flat.index_copy(0, self.rows, self.probabilities.detach().float())
        log_said = said.log().reshape(batch, frames, self.num_experts)
        return Routing(log_said, log_weights, self.mask, self.layer)
