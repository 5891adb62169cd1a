"""Batches of time-delay neural networks (TDNNs) for utterances.

A TDNN layer concatenates each frame with its neighbours (``splice``) and applies a linear map.
Every module holds ``num_experts`` independent networks, computed in one batched product; a gate is
a module with a single network.

Legend: E experts, S utterances (slots) of each expert, T frames, C channels, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.networks.time_delay import ExpertLinear, splice


class StackTDNN(nn.Module):
    """Residual TDNN layers over an utterance, with logits for every frame.

    Layer normalisation acts within a frame, so the output does not depend on padding or on the rest
    of the batch; every layer masks its input, so padding is equivalent to the end of the recording.
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
        """Creates the layers with initial weights.

        Args:
            num_experts: Number of independent networks.
            num_features: Features of a frame.
            num_outputs: Outputs of a frame.
            width: Channels of every layer.
            dilations: Step between the input frames of a layer, one for each layer.
            kernel: Input frames of a layer; odd.
            dropout: Dropout rate of whole channels of an utterance, in each layer.
            bottleneck: Channels of the bottleneck in front of each layer, as in a factored TDNN
                (Povey et al. 2018, without the orthogonality constraint); None for no bottleneck.
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
        """Number of independent networks."""
        return self.output.num_experts

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Computes the logits of the outputs in every frame.

        Args:
            frames: Shape (experts or 1, slots, frames, features); zero where masked.
            mask: True for real frames, shape (experts or 1, slots, frames).

        Returns:
            Logits, shape (experts, slots, frames, outputs).
        """
        real = mask[..., None]  # (E, S, T, 1)
        hidden = functional.relu(self.input(splice(frames, self.kernel)))
        for narrow, layer, dilation in zip(self.narrow, self.layers, self.dilations, strict=True):
            # Reduced to the bottleneck before splicing, so that fewer channels are copied.
            seen = narrow(functional.layer_norm(hidden, (self.width,))) * real
            change = functional.relu(layer(splice(seen, self.kernel, dilation)))
            if self.training and self.dropout:
                # One random draw for a channel in all frames: equally effective here, and cheaper.
                keep = torch.empty_like(change[:, :, :1]).bernoulli_(1 - self.dropout)
                change = change * (keep / (1 - self.dropout))
            hidden = hidden + change
        scores: Tensor = self.output(functional.layer_norm(hidden, (self.width,)))
        return scores
