"""The gate: a network on the experts' features whose softmax is each expert's weight.

Legend: B batch, T frames, E experts.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.routing import Routing, dense_routing, normalized_routing


class Gate(nn.Module):
    """A network or function that looks at the same features and says which experts to ask."""

    def __init__(
        self, network: nn.Module, activation: Literal["softmax", "sigmoid"] = "softmax"
    ) -> None:
        """Takes a network as it is.

        Args:
            network: Of one copy, with an output for each expert.
            activation: ``softmax`` lets the experts share a weight of 1; ``sigmoid`` gives each a
                weight of its own, 0..1 (Hampshire & Waibel's gate has sigmoid outputs).
        """
        super().__init__()
        self.network = network
        self.activation = activation

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Logarithms of the experts' weights in float32, shape (batch, frames, experts).

        Args:
            features: Shape (batch, frames, features).
            mask: Real frames, shape (batch, frames).
        """
        scores = self.network(features[None], mask[None])[0].float()
        if self.activation == "sigmoid":
            return functional.logsigmoid(scores)
        return functional.log_softmax(scores, dim=-1)

    def route(self, features: Tensor, mask: Tensor) -> Routing:
        """Asks every expert as much as the gate says; arguments as in ``forward``."""
        said = self(features, mask)
        decisions = mask[:, : said.shape[1]]
        if self.activation == "sigmoid":
            return normalized_routing(said, decisions)
        return dense_routing(said, decisions)
