"""Experts: networks of one shape side by side, and functions beside them.

Legend: E experts, B batch, T frames, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.networks.speaker_dispatch import Dispatch


class Experts(nn.Module):
    """Networks of one shape, and functions after them, that each give a distribution."""

    def __init__(
        self,
        network: nn.Module,
        num_networks: int | None = None,
        functions: Sequence[nn.Module] = (),
    ) -> None:
        """Puts experts side by side.

        Args:
            network: All networks of one shape, from (experts or 1, slots, frames, features) and
                their mask to scores of shape (experts, slots, frames, outputs).
            num_networks: How many copies it holds; left out, its ``num_experts``.
            functions: Further experts, each a network of one copy (``mixture.networks.functions``).

        Raises:
            ValueError: The network holds another number, or does not say and nobody else does.
        """
        super().__init__()
        held: int | None = getattr(network, "num_experts", None)
        kind = type(network).__name__
        if num_networks is None:
            if held is None:
                raise ValueError(f"num_networks: {kind} has no num_experts; expected a number")
            num_networks = held
        if held is not None and held != num_networks:
            raise ValueError(f"num_networks: found {num_networks}, but the {kind} holds {held}")
        self.network = network
        self.num_networks = num_networks
        self.functions = nn.ModuleList(functions)
        self.num_experts = num_networks + len(functions)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """What every expert says of every utterance.

        Args:
            features: Shape (batch, frames, features).
            mask: Real frames, shape (batch, frames).

        Returns:
            Log posteriors in float32, shape (batch, frames, experts, outputs); one frame for a
            token.
        """
        scores = [
            network(features[None], mask[None]) for network in (self.network, *self.functions)
        ]
        together = scores[0] if len(scores) == 1 else torch.cat(scores)  # (E, B, T, P)
        return functional.log_softmax(together.float(), dim=-1).permute(1, 2, 0, 3)

    def of_each(self, features: Tensor, mask: Tensor, expert: Tensor) -> Tensor:
        """What one given expert says of each utterance; no other network is computed.

        Args:
            features: Shape (batch, frames, features).
            mask: Real frames, shape (batch, frames).
            expert: Index of the expert of each utterance, shape (batch,).

        Returns:
            Log posteriors in float32, shape (batch, frames, outputs); one frame for a token.
        """
        if self.functions and bool((expert >= self.num_networks).any()):
            everything: Tensor = self(features, mask)
            return everything.take_along_dim(expert[:, None, None, None], dim=2)[:, :, 0]
        dispatch = Dispatch.to_experts(expert, self.num_networks)
        scores = self.network(dispatch.pack(features), dispatch.pack(mask))
        return functional.log_softmax(dispatch.unpack(scores).float(), dim=-1)
