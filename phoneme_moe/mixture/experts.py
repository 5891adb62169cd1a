"""Experts: a batch of networks of the same shape, and functions as further experts.

Legend: E experts, B batch, T frames, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.networks.speaker_dispatch import Dispatch
from phoneme_moe.mixture.routing import all_real

Outputs = Literal["log_posteriors", "values"]


class Experts(nn.Module):
    """Networks of the same shape, followed by functions, all with the same input features.

    Attributes:
        outputs: ``log_posteriors`` of classes, or real ``values``, as for regression.
    """

    def __init__(
        self,
        network: nn.Module,
        num_networks: int | None = None,
        functions: Sequence[nn.Module] = (),
        outputs: Outputs = "log_posteriors",
    ) -> None:
        """Combines networks and functions.

        Args:
            network: All networks in one module, which maps (experts or 1, slots, frames, features)
                and a mask to scores of shape (experts, slots, frames, outputs).
            num_networks: Number of networks in it; its ``num_experts`` by default.
            functions: Further experts, each a module for a single expert
                (``mixture.networks.functions``).
            outputs: ``log_posteriors`` applies a softmax to the scores; ``values`` returns the
                scores.

        Raises:
            ValueError: ``num_networks`` differs from the network's ``num_experts``, or neither is
                given.
        """
        super().__init__()
        num_held: int | None = getattr(network, "num_experts", None)
        kind = type(network).__name__
        if num_networks is None:
            if num_held is None:
                raise ValueError(f"num_networks: found none, and {kind} has no num_experts")
            num_networks = num_held
        if num_held is not None and num_held != num_networks:
            raise ValueError(f"num_networks: found {num_networks}, but the {kind} has {num_held}")
        self.network = network
        self.num_networks = num_networks
        self.functions = nn.ModuleList(functions)
        self.num_experts = num_networks + len(functions)
        self.outputs: Outputs = outputs

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Computes the outputs of every expert.

        Args:
            features: Shape (batch, frames, features); or (cases, features) for data without time,
                in which case the result has no frame axis.
            mask: True for real frames, shape (batch, frames); all by default.

        Returns:
            Log posteriors or values in float32, shape (batch, frames, experts, outputs); one frame
            for a token.
        """
        if features.dim() == 2:
            outputs: Tensor = self(features[:, None])
            return outputs[:, 0]
        mask = all_real(features) if mask is None else mask
        scores = [
            network(features[None], mask[None]) for network in (self.network, *self.functions)
        ]
        together = scores[0] if len(scores) == 1 else torch.cat(scores)  # (E, B, T, P)
        return self._activate(together).permute(1, 2, 0, 3)

    def assigned(self, features: Tensor, mask: Tensor | None, expert: Tensor) -> Tensor:
        """Computes the outputs of one given expert for each utterance, and of no other network.

        Args:
            features: As in ``forward``.
            mask: As in ``forward``.
            expert: Index of the expert of each utterance, shape (batch,).

        Returns:
            Log posteriors or values in float32, shape (batch, frames, outputs); one frame for a
            token.
        """
        if features.dim() == 2:
            return self.assigned(features[:, None], None, expert)[:, 0]
        mask = all_real(features) if mask is None else mask
        if self.functions and bool((expert >= self.num_networks).any()):
            outputs: Tensor = self(features, mask)
            return outputs.take_along_dim(expert[:, None, None, None], dim=2)[:, :, 0]
        dispatch = Dispatch.to_experts(expert, self.num_networks)
        scores = self.network(dispatch.pack(features), dispatch.pack(mask))
        return self._activate(dispatch.unpack(scores))

    def _activate(self, scores: Tensor) -> Tensor:
        if self.outputs == "values":
            return scores.float()
        return functional.log_softmax(scores.float(), dim=-1)
