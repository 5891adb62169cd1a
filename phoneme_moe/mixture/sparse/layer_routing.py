"""Further inputs of a sparse layer's router, and the routing that the layer returns.

Legend: N real frames, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from phoneme_moe.mixture.override import LayerOverrides, RoutingOverride
from phoneme_moe.mixture.routing import Routing
from phoneme_moe.mixture.sparse.balance import BalanceTerm
from phoneme_moe.mixture.sparse.expert_rows import Assignment
from phoneme_moe.system.ranks import global_means


@dataclass(frozen=True)
class RouterContext:
    """Inputs of a router besides the frames of its layer.

    Attributes:
        features: Input of the model, shape (batch, frames, features); for a rule.
        embedding: External embedding of each utterance, shape (batch, size).
        override: Replaces the router's selection.
    """

    features: Tensor | None = None
    embedding: Tensor | None = None
    override: RoutingOverride | LayerOverrides | None = None


@dataclass(frozen=True)
class LayerRouting:
    """Routing of one sparse layer, for a batch.

    Attributes:
        layer: Name of the layer.
        mask: Real frames, shape (batch, frames), or (cases,) for data without time.
        rows: Index of each real frame among all frames, shape (frames,).
        assignment: The experts of each real frame; its tokens index ``rows``.
        num_experts: Number of experts.
        probabilities: Output of the router before selection for each real frame, shape (frames,
            experts); None where not all experts were scored.
        counts: Number of selections of each expert, including dropped ones, shape (experts,).
        dropped: Share of the selections that exceeded the capacity of the expert, 0..1.
        entropy: Mean entropy of the router's decisions in nats, 0..log(experts).
        balance: The balancing losses.
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
    balance: tuple[BalanceTerm, ...] = ()

    @property
    def loss(self) -> Tensor:
        """Weighted sum of the balancing losses."""
        none = torch.zeros((), device=self.mask.device)
        return sum((term.weight * term.loss(*term.statistics) for term in self.balance), none)

    @property
    def load(self) -> Tensor:
        """Each expert's share of the selections, summing to 1, shape (experts,)."""
        return self.counts / self.counts.sum().clamp_min(1)

    def routing(self) -> Routing:
        """The routing with a weight for every expert, as used in reports.

        Weights are divided by their sum; a frame that all its experts dropped gets equal weights.
        """
        shape = (*self.mask.shape, self.num_experts)
        zeros = self.mask.new_zeros(self.mask.numel(), self.num_experts, dtype=torch.float32)
        weights = zeros.index_put(
            (self.assignment.token, self.assignment.expert),
            self.assignment.weight.detach().float(),
            accumulate=True,
        )
        total = weights.sum(dim=-1, keepdim=True)
        shares = torch.where(total > 0, weights / total.clamp_min(1e-20), 1 / self.num_experts)
        log_weights = shares.log().reshape(shape)
        if self.probabilities is None:
            return Routing(log_weights, log_weights, self.mask, self.layer)
        probabilities = zeros.index_copy(0, self.rows, self.probabilities.detach().float())
        log_probabilities = probabilities.log().reshape(shape)
        return Routing(log_probabilities, log_weights, self.mask, self.layer)


def over_all_ranks(layers: Sequence[LayerRouting]) -> list[LayerRouting]:
    """Routing with the balancing losses of a step that several processes take together.

    The statistics of all layers travel in one message.

    Args:
        layers: The routing of this process, with the statistics of its decisions.
    """
    terms = [term for layer in layers for term in layer.balance]
    parts = [(value, term.num_decisions) for term in terms for value in term.statistics]
    means = iter(global_means(parts))
    return [
        replace(
            layer,
            balance=tuple(
                term._replace(statistics=tuple(islice(means, len(term.statistics))))
                for term in layer.balance
            ),
        )
        for layer in layers
    ]
