"""Blocks that look around in time and then think about what they saw.

Each block has two residual parts, both behind a layer normalisation: a factored TDNN layer, which
joins a frame with its neighbours through a bottleneck (Povey et al. 2018), and a feed-forward part,
dense or of sparse experts. Almost all of its time goes into matrix products.

Legend: B batch, T frames, C channels, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.networks.time_delay import splice
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.mixture.receptive_field import receptive_field
from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting, RouterContext
from phoneme_moe.mixture.sparse.soft import SoftFeedForward


class DenseFeedForward(nn.Module):
    """Two linear maps of each frame with rectified units between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.reduce = nn.Linear(hidden, width)

    def forward(self, frames: Tensor) -> Tensor:
        """Shape (..., width) as given."""
        answer: Tensor = self.reduce(functional.relu(self.expand(frames)))
        return answer


FeedForwardPart = DenseFeedForward | SparseFeedForward | SoftFeedForward


class Block(nn.Module):
    """A time-delay part and a feed-forward part, each added to what comes in."""

    def __init__(
        self,
        width: int,
        bottleneck: int,
        kernel: int,
        dilation: int,
        feed_forward: FeedForwardPart,
        dropout: float,
    ) -> None:
        """Plain sizes.

        Args:
            width: Channels.
            bottleneck: Channels through which neighbours are seen.
            kernel: Frames that are joined; odd.
            dilation: Step between them.
            feed_forward: The second part.
            dropout: Share of an utterance's channels silenced in training, in each part.
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
        """Shape (batch, frames, width) as given; and who was asked, of a sparse part."""
        # Narrowed before neighbours are joined; masked, so that padding looks like an end.
        seen = self.narrow(self.time_norm(frames)) * mask[..., None]
        joined = functional.relu(self.widen(splice(seen, self.kernel, self.dilation)))
        frames = frames + self._drop(joined)
        normed = self.norm(frames)
        routing = None
        if isinstance(self.feed_forward, DenseFeedForward):
            change = self.feed_forward(normed)
        else:
            change, routing = self.feed_forward(normed, mask, surroundings)
        return frames + self._drop(change), routing

    def _drop(self, change: Tensor) -> Tensor:
        """Silences whole channels of an utterance: one draw serves all its frames."""
        if not self.training or self.dropout == 0:
            return change
        keep = torch.empty_like(change[:, :1]).bernoulli_(1 - self.dropout)
        return change * (keep / (1 - self.dropout))


class Encoder(nn.Module):
    """From features to the scores of the outputs in every frame."""

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
        """Plain sizes.

        Args:
            num_features: Features of a frame.
            num_outputs: Outputs of a frame.
            width: Channels of every block.
            bottleneck: Channels through which a block sees neighbours.
            kernel: Frames that a block joins; odd.
            dilations: One block for each; the step between the frames it joins.
            feed_forwards: The second part of each block.
            dropout: Share of an utterance's channels silenced in training.
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
        override: RoutingOverride | None = None,
    ) -> tuple[Tensor, tuple[LayerRouting, ...]]:
        """Scores of the outputs, and who was asked in every sparse layer.

        Args:
            features: Shape (batch, frames, features), zero where masked.
            mask: Real frames, shape (batch, frames).
            embedding: A vector of each utterance from outside, shape (batch, size).
            override: Other experts than the routers would ask.

        Returns:
            Scores before the softmax, shape (batch, frames, outputs), arbitrary where masked; and
            the routing of the sparse layers in order.
        """
        surroundings = RouterContext(features, embedding, override)
        frames = functional.relu(self.input(splice(features, self.kernel)))
        routings = []
        for block in self.blocks:
            frames, routing = block(frames, mask, surroundings)
            if routing is not None:
                routings.append(routing)
        scores: Tensor = self.output(self.norm(frames))
        return scores, tuple(routings)

    @property
    def context(self) -> int | None:
        """Frames that an answer depends on to either side; None if on the whole utterance."""
        reach = self.kernel // 2
        for block in self.blocks:
            assert isinstance(block, Block)
            own = receptive_field(block.feed_forward)
            if own is None:
                return None
            reach += block.kernel // 2 * block.dilation + own
        return reach

    @property
    def sparse_layers(self) -> list[SparseFeedForward | SoftFeedForward]:
        """The sparse parts in order."""
        parts = [block.feed_forward for block in self.blocks]
        return [p for p in parts if isinstance(p, SparseFeedForward | SoftFeedForward)]
