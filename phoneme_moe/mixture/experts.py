"""Experts: networks of one shape side by side, and functions beside them.

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
    """Networks of one shape, and functions after them, on the same features.

    Attributes:
        outputs: ``log_posteriors`` of classes, or ``values`` of any sign, as for regression.
    """

    def __init__(
        self,
        network: nn.Module,
        num_networks: int | None = None,
        functions: Sequence[nn.Module] = (),
        outputs: Outputs = "log_posteriors",
    ) -> None:
        """Puts experts side by side.

        Args:
            network: All networks of one shape, from (experts or 1, slots, frames, features) and
                their mask to scores of shape (experts, slots, frames, outputs).
            num_networks: How many copies it holds; its ``num_experts`` when left out.
            functions: Further experts, each a network of one copy (``mixture.networks.functions``).
            outputs: ``log_posteriors``: scores go through a softmax. ``values``: they are the
                outputs.

        Raises:
            ValueError: The network holds another number, or has no ``num_experts`` and none is
                given.
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
        self.outputs: Outputs = outputs

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """The outputs of every expert.

        Args:
            features: Shape (batch, frames, features); or (cases, features) for rows without time,
                and then the result has no axis of frames.
            mask: Real frames, shape (batch, frames); all when left out.

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
        """The outputs of one given expert for each utterance; no other network is computed.

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
