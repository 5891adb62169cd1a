"""Batches of linear and feed-forward networks.

Legend: E experts, S utterances (slots) of each expert, T frames, F features, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.networks.time_delay import ExpertLinear, splice


class FeedForward(nn.Module):
    """Feed-forward networks with ReLU; without hidden layers, multinomial logistic regression.

    The input is each frame of an utterance with its neighbours, or a whole token.
    """

    def __init__(
        self,
        num_experts: int,
        num_features: int,
        num_outputs: int,
        hidden: Sequence[int] = (),
        kernel: int = 1,
        token_frames: int | None = None,
    ) -> None:
        """Creates the layers with initial weights.

        Args:
            num_experts: Number of independent networks.
            num_features: Features of a frame.
            num_outputs: Outputs of a frame, or of a token.
            hidden: Units of each hidden layer.
            kernel: Width of the input window in frames; odd.
            token_frames: Frames of a token; None for utterances.
        """
        super().__init__()
        self.kernel = kernel
        self.token_frames = token_frames
        sizes = [num_features * (token_frames or kernel), *hidden, num_outputs]
        self.layers = nn.ModuleList(
            ExpertLinear(num_experts, inputs, outputs) for inputs, outputs in pairwise(sizes)
        )

    @property
    def num_experts(self) -> int:
        """Number of independent networks."""
        return len(next(self.parameters()))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Computes the logits of the outputs.

        Args:
            frames: Shape (experts or 1, slots, frames, features); zero where masked.
            mask: Not used, since masked frames are zero; shape (experts or 1, slots, frames).

        Returns:
            Logits, shape (experts, slots, frames, outputs); one frame for a token.
        """
        values = self.seen(frames)
        *hidden, output = self.layers
        for layer in hidden:
            values = functional.relu(layer(values))
        scores: Tensor = output(values)
        return scores

    def seen(self, frames: Tensor) -> Tensor:
        """Input of the first layer, shape (experts or 1, slots, frames or 1, inputs)."""
        if self.token_frames is None:
            return splice(frames, self.kernel)
        return frames.flatten(2)[:, :, None]
