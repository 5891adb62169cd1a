"""Routing overrides: a single expert, ablation of experts, or fixed weights.

Legend: E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phoneme_moe.mixture.routing import Routing


@dataclass(frozen=True)
class RoutingOverride:
    """Routing that replaces that of a gate or a router.

    Attributes:
        num_experts: Number of experts.
        layer: The sparse layer that it applies to; None for a gate, or all sparse layers.
        only: Indices of the experts that may be used; all when empty.
        without: Indices of experts that may not be used.
        shares: Fixed weight of each expert in every frame, length num_experts; if empty, the
            weights of the gate.
    """

    num_experts: int
    layer: str | None = None
    only: tuple[int, ...] = ()
    without: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()

    def allowed(self, device: torch.device) -> Tensor:
        """Which experts may be used, shape (experts,), boolean."""
        allowed = torch.full((self.num_experts,), not self.only, device=device)
        allowed[list(self.only)] = True
        allowed[list(self.without)] = False
        return allowed

    def of_layer(self, layer: str) -> RoutingOverride | None:
        """The override of a sparse layer; None if it has another one in mind."""
        return self if self.layer is None or self.layer == layer else None

    def reroute(self, routing: Routing) -> Routing:
        """Overrides the routing of a gate; the weights of each frame sum to 1."""
        log_probabilities, log_weights = routing.log_probabilities, routing.log_weights
        if self.shares:
            fixed = torch.tensor(
                self.shares, device=log_weights.device, dtype=log_probabilities.dtype
            )
            log_probabilities = log_weights = fixed.log().expand_as(log_probabilities)
        excluded = ~self.allowed(log_weights.device)
        log_weights = log_weights.masked_fill(excluded, -torch.inf)
        log_weights = log_weights - log_weights.logsumexp(dim=-1, keepdim=True)
        log_probabilities = log_probabilities.masked_fill(excluded, -torch.inf)
        # Raw sigmoids are not normalised; all other weights sum to 1.
        if not self.shares and torch.equal(routing.log_probabilities, routing.log_weights):
            log_probabilities = log_weights
        return Routing(log_probabilities, log_weights, routing.mask, routing.layer)


@dataclass(frozen=True)
class LayerOverrides:
    """Overrides of several sparse layers of an encoder at once.

    Attributes:
        overrides: One for each of these layers; the first that names a layer counts.
    """

    overrides: tuple[RoutingOverride, ...]

    def of_layer(self, layer: str) -> RoutingOverride | None:
        """The override of a sparse layer, if there is one."""
        each = (override.of_layer(layer) for override in self.overrides)
        return next((override for override in each if override is not None), None)


def shares_of(weights: Sequence[float]) -> tuple[float, ...]:
    """Non-negative weights, divided by their sum."""
    total = sum(weights)
    return tuple(weight / total for weight in weights)
