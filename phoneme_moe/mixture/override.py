"""Asking other experts than the gate or the router would: one alone, all but some, fixed shares.

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
    """What a gate or router says instead.

    Attributes:
        num_experts: How many there are.
        layer: The sparse layer that is meant; None for a gate, or all sparse layers.
        only: Indices of the experts that may be asked; all when empty.
        without: Indices of experts that may not be asked.
        shares: Of each expert, in every frame alike, length num_experts; the gate's own when empty.
    """

    num_experts: int
    layer: str | None = None
    only: tuple[int, ...] = ()
    without: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()

    def allowed(self, device: torch.device) -> Tensor:
        """Which experts may be asked, shape (experts,), boolean."""
        allowed = torch.full((self.num_experts,), not self.only, device=device)
        allowed[list(self.only)] = True
        allowed[list(self.without)] = False
        return allowed

    def means(self, layer: str) -> bool:
        """Whether a sparse layer is meant."""
        return self.layer is None or self.layer == layer

    def reroute(self, routing: Routing) -> Routing:
        """A gate's routing, changed; weights of each frame sum to 1."""
        said, weights = routing.log_probabilities, routing.log_weights
        if self.shares:
            fixed = torch.tensor(self.shares, device=said.device, dtype=said.dtype).log()
            said = weights = fixed.expand_as(said)
        barred = ~self.allowed(said.device)
        weights = weights.masked_fill(barred, -torch.inf)
        weights = weights - weights.logsumexp(dim=-1, keepdim=True)
        said = said.masked_fill(barred, -torch.inf)
        # Raw sigmoids are no shares; all else sums to 1.
        if not self.shares and torch.equal(routing.log_probabilities, routing.log_weights):
            said = weights
        return Routing(said, weights, routing.mask, routing.layer)


def shares_of(weights: Sequence[float]) -> tuple[float, ...]:
    """Shares that sum to 1, from weights none of which is below 0."""
    total = sum(weights)
    return tuple(weight / total for weight in weights)
