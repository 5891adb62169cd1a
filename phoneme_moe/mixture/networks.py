"""Time-delay neural networks, many of one shape side by side.

A TDNN layer joins each frame with its neighbours (``splice``) and maps what it then sees linearly.
Every network here holds ``num_experts`` independent copies whose maps are batched into one product;
a gate is such a network with one copy.

Legend: E experts, S utterances (slots) of each, T frames, C channels, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.dispatch import Dispatch
from phoneme_moe.mixture.routing import Routing, dense_routing, normalized_routing
from phoneme_moe.mixture.time_delay import ExpertLinear, splice


class StackTDNN(nn.Module):
    """A stack of residual TDNN layers over a whole utterance: a distribution for every frame.

    Layer normalisation acts within a frame, so that neither padding nor the rest of the batch can
    change an answer; every layer masks its input, so that padding looks like the recording's end.
    """

    def __init__(
        self,
        num_experts: int,
        num_features: int,
        num_outputs: int,
        width: int = 64,
        dilations: Sequence[int] = (1, 2, 3),
        kernel: int = 3,
        dropout: float = 0.0,
        bottleneck: int | None = None,
    ) -> None:
        """Plain sizes.

        Args:
            num_experts: Independent copies.
            num_features: Features of a frame.
            num_outputs: Outputs of a frame.
            width: Channels of every layer.
            dilations: One layer for each; the step between the frames it looks at.
            kernel: Frames that a layer looks at; odd.
            dropout: Share of an utterance's channels silenced in training, layer by layer.
            bottleneck: Channels through which a layer sees the one before it, as in a factored
                TDNN (Povey et al. 2018, without keeping a factor orthogonal); all when None.
        """
        super().__init__()
        self.width = width
        self.kernel = kernel
        self.dilations = tuple(dilations)
        self.dropout = dropout
        self.input = ExpertLinear(num_experts, num_features * kernel, width)
        self.narrow = nn.ModuleList(
            ExpertLinear(num_experts, width, bottleneck) if bottleneck else nn.Identity()
            for _ in self.dilations
        )
        self.layers = nn.ModuleList(
            ExpertLinear(num_experts, (bottleneck or width) * kernel, width) for _ in self.dilations
        )
        self.output = ExpertLinear(num_experts, width, num_outputs)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Scores of the outputs in every frame.

        Args:
            frames: Shape (experts or 1, slots, frames, features); zero where masked.
            mask: Real frames, shape (experts or 1, slots, frames).

        Returns:
            Scores before the softmax, shape (experts, slots, frames, outputs).
        """
        real = mask[..., None]  # (E, S, T, 1)
        hidden = functional.relu(self.input(splice(frames, self.kernel)))
        for narrow, layer, dilation in zip(self.narrow, self.layers, self.dilations, strict=True):
            # Narrowed before neighbours are joined: the copying shrinks with the channels.
            seen = narrow(functional.layer_norm(hidden, (self.width,))) * real
            change = functional.relu(layer(splice(seen, self.kernel, dilation)))
            if self.training and self.dropout:
                # One draw for a channel's whole utterance: as good here, and cheap to draw.
                keep = torch.empty_like(change[:, :, :1]).bernoulli_(1 - self.dropout)
                change = change * (keep / (1 - self.dropout))
            hidden = hidden + change
        scores: Tensor = self.output(functional.layer_norm(hidden, (self.width,)))
        return scores


class Experts(nn.Module):
    """Networks of one shape, and functions after them, that each give a distribution."""

    def __init__(
        self, network: nn.Module, num_networks: int, functions: Sequence[nn.Module] = ()
    ) -> None:
        """Puts experts side by side.

        Args:
            network: All networks of one shape, from (experts or 1, slots, frames, features) and
                their mask to scores of shape (experts, slots, frames, outputs).
            num_networks: How many copies it holds.
            functions: Further experts, each a network of one copy (``mixture.functions``).
        """
        super().__init__()
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
