"""The gate: a network on the experts' features whose softmax is each expert's weight.

Legend: B batch, T frames, E experts.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.routing import Routing, all_real, dense_routing, normalized_routing


class Gate(nn.Module):
    """A network or function on the experts' features that weighs the experts."""

    def __init__(
        self, network: nn.Module, activation: Literal["softmax", "sigmoid"] = "softmax"
    ) -> None:
        """Takes a network as it is.

        Args:
            network: Of one copy, with an output for each expert.
            activation: ``softmax`` lets the experts share a weight of 1; ``sigmoid`` gives each an
                independent weight, 0..1 (Hampshire & Waibel's gate has sigmoid outputs).
        """
        super().__init__()
        self.network = network
        self.activation = activation

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logarithms of the experts' weights in float32, shape (batch, frames, experts).

        Args:
            features: Shape (batch, frames, features); or (cases, features) for rows without time,
                and then the result has no axis of frames.
            mask: Real frames, shape (batch, frames); all when left out.
        """
        if features.dim() == 2:
            log_weights: Tensor = self(features[:, None])
            return log_weights[:, 0]
        mask = all_real(features) if mask is None else mask
        scores = self.network(features[None], mask[None])[0].float()
        if self.activation == "sigmoid":
            return functional.logsigmoid(scores)
        return functional.log_softmax(scores, dim=-1)

    def route(self, features: Tensor, mask: Tensor | None = None) -> Routing:
        """Every expert with the weight that the gate gives it; arguments as in ``forward``."""
        log_weights = self(features, mask)
        if mask is None:
            real = log_weights.new_ones(log_weights.shape[:-1]).bool()
        else:
            real = mask[:, : log_weights.shape[1]]
        if self.activation == "sigmoid":
            return normalized_routing(log_weights, real)
        return dense_routing(log_weights, real)
