"""Time-delay neural networks, many of one shape side by side.

A TDNN layer joins each frame with its neighbours (``splice``) and maps the result linearly.
Every network here holds ``num_experts`` independent copies whose maps are batched into one product;
a gate is such a network with one copy.

Legend: E experts, S utterances (slots) of each, T frames, C channels, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.networks.time_delay import ExpertLinear, splice


class StackTDNN(nn.Module):
    """A stack of residual TDNN layers over a whole utterance: a distribution for every frame.

    Layer normalisation acts within a frame, so that neither padding nor the rest of the batch can
    change an output; every layer masks its input, so that padding looks like the recording's end.
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
        """Sizes.

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

    @property
    def num_experts(self) -> int:
        """Independent copies."""
        return self.output.num_experts

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
