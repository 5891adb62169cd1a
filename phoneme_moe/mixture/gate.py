"""The gate: a network whose softmax gives the weights of the experts.

Legend: B batch, T frames, E experts.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.routing import Routing, all_real, dense_routing, normalized_routing


class Gate(nn.Module):
    """A network or function that weights the experts, given their input features."""

    def __init__(
        self, network: nn.Module, activation: Literal["softmax", "sigmoid"] = "softmax"
    ) -> None:
        """Wraps a network.

        Args:
            network: A module for a single expert (``num_experts`` 1), with one output for each
                expert.
            activation: ``softmax``: the weights sum to 1; ``sigmoid``: independent weights, 0..1
                (the gate of Hampshire & Waibel has sigmoid outputs).
        """
        super().__init__()
        self.network = network
        self.activation = activation

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logarithms of the experts' weights in float32, shape (batch, frames, experts).

        Args:
            features: Shape (batch, frames, features); or (cases, features) for data without time,
                in which case the result has no frame axis.
            mask: True for real frames, shape (batch, frames); all by default.
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
        """Dense routing by the gate's weights; arguments as in ``forward``."""
        log_weights = self(features, mask)
        if mask is None:
            real = log_weights.new_ones(log_weights.shape[:-1]).bool()
        else:
            real = mask[:, : log_weights.shape[1]]
        if self.activation == "sigmoid":
            return normalized_routing(log_weights, real)
        return dense_routing(log_weights, real)
