"""Encoder: blocks of a time-delay layer for context and a feed-forward layer.

Both layers of a block are residual with layer normalisation at the input: a factored TDNN layer,
which combines a frame with its neighbours through a bottleneck (Povey et al. 2018), and a
feed-forward layer, dense or with sparse experts.

Legend: B batch, T frames, C channels, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.networks.time_delay import splice
from phoneme_moe.mixture.override import LayerOverrides, RoutingOverride
from phoneme_moe.mixture.receptive_field import receptive_field
from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting, RouterContext
from phoneme_moe.mixture.sparse.soft import SoftFeedForward


class DenseFeedForward(nn.Module):
    """Two linear maps of each frame with ReLU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.reduce = nn.Linear(hidden, width)

    def forward(self, frames: Tensor) -> Tensor:
        """Shape (..., width) to the same shape."""
        output: Tensor = self.reduce(functional.relu(self.expand(frames)))
        return output


FeedForwardPart = DenseFeedForward | SparseFeedForward | SoftFeedForward


class Block(nn.Module):
    """A time-delay layer and a feed-forward layer, both residual."""

    def __init__(
        self,
        width: int,
        bottleneck: int,
        kernel: int,
        dilation: int,
        feed_forward: FeedForwardPart,
        dropout: float,
    ) -> None:
        """Creates the layers with initial weights.

        Args:
            width: Channels.
            bottleneck: Channels of the bottleneck.
            kernel: Frames that the time-delay layer sees; odd.
            dilation: Step between them.
            feed_forward: The feed-forward layer.
            dropout: Dropout rate of channels, in each layer.
        """
        super().__init__()
        self.kernel = kernel
        self.dilation = dilation
        self.dropout = dropout
        self.time_norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, bottleneck)
        self.widen = nn.Linear(bottleneck * kernel, width)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = feed_forward

    def forward(
        self, frames: Tensor, mask: Tensor, surroundings: RouterContext
    ) -> tuple[Tensor, LayerRouting | None]:
        """Shape (batch, frames, width) to the same shape; and the routing of a sparse layer."""
        # Reduced before splicing; masked, so that padding is equivalent to the end of the
        # utterance.
        narrow = self.narrow(self.time_norm(frames)) * mask[..., None]
        context_frames = functional.relu(self.widen(splice(narrow, self.kernel, self.dilation)))
        frames = frames + self._drop(context_frames)
        normed = self.norm(frames)
        routing = None
        if isinstance(self.feed_forward, DenseFeedForward):
            change = self.feed_forward(normed)
        else:
            change, routing = self.feed_forward(normed, mask, surroundings)
        return frames + self._drop(change), routing

    def _drop(self, change: Tensor) -> Tensor:
        """Drops whole channels of an utterance, in all of its frames."""
        if not self.training or self.dropout == 0:
            return change
        keep = torch.empty_like(change[:, :1]).bernoulli_(1 - self.dropout)
        return change * (keep / (1 - self.dropout))


class Encoder(nn.Module):
    """Maps features to logits of the outputs in every frame."""

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        width: int,
        bottleneck: int,
        kernel: int,
        dilations: Sequence[int],
        feed_forwards: Sequence[FeedForwardPart],
        dropout: float = 0.0,
    ) -> None:
        """Creates the layers with initial weights.

        Args:
            num_features: Features of a frame.
            num_outputs: Number of outputs.
            width: Channels of every block.
            bottleneck: Channels of the bottleneck of a time-delay layer.
            kernel: Frames that a time-delay layer sees; odd.
            dilations: Step between the input frames of each block's time-delay layer.
            feed_forwards: Feed-forward layer of each block.
            dropout: Dropout rate of channels, in each layer.
        """
        super().__init__()
        self.kernel = kernel
        self.input = nn.Linear(num_features * kernel, width)
        self.blocks = nn.ModuleList(
            Block(width, bottleneck, kernel, dilation, part, dropout)
            for dilation, part in zip(dilations, feed_forwards, strict=True)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, num_outputs)

    def forward(
        self,
        features: Tensor,
        mask: Tensor,
        embedding: Tensor | None = None,
        override: RoutingOverride | LayerOverrides | None = None,
    ) -> tuple[Tensor, tuple[LayerRouting, ...]]:
        """Computes the logits of the outputs, and the routing of every sparse layer.

        Arguments as of ``hidden_states``.

        Returns:
            Logits, shape (batch, frames, outputs), arbitrary where masked; and
            the routing of the sparse layers in order.
        """
        frames, routings = self.hidden_states(features, mask, embedding, override)
        logits: Tensor = self.output(frames)
        return logits, routings

    def hidden_states(
        self,
        features: Tensor,
        mask: Tensor,
        embedding: Tensor | None = None,
        override: RoutingOverride | LayerOverrides | None = None,
    ) -> tuple[Tensor, tuple[LayerRouting, ...]]:
        """Computes the normalised output of the last block, and the routing of every sparse layer.

        Args:
            features: Shape (batch, frames, features), zero where masked.
            mask: True for real frames, shape (batch, frames).
            embedding: External embedding of each utterance, shape (batch, size).
            override: Replaces the selection of the routers.

        Returns:
            Shape (batch, frames, width), arbitrary where masked; and the routing of the sparse
            layers in order.
        """
        surroundings = RouterContext(features, embedding, override)
        frames = functional.relu(self.input(splice(features, self.kernel)))
        routings = []
        for block in self.blocks:
            frames, routing = block(frames, mask, surroundings)
            if routing is not None:
                routings.append(routing)
        return self.norm(frames), tuple(routings)

    @property
    def context(self) -> int | None:
        """Context to either side in frames; None for the whole utterance."""
        context = self.kernel // 2
        for block in self.blocks:
            assert isinstance(block, Block)
            of_router = receptive_field(block.feed_forward)
            if of_router is None:
                return None
            context += block.kernel // 2 * block.dilation + of_router
        return context

    @property
    def sparse_layers(self) -> list[SparseFeedForward | SoftFeedForward]:
        """The sparse layers in order."""
        parts = [block.feed_forward for block in self.blocks]
        return [p for p in parts if isinstance(p, SparseFeedForward | SoftFeedForward)]
