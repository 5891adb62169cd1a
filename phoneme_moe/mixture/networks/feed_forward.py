"""Linear maps and multi-layer perceptrons, many of one shape side by side.

Legend: E experts, S utterances (slots) of each, T frames, F features, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.networks.time_delay import ExpertLinear, splice


class FeedForward(nn.Module):
    """Layers of rectified units, or none: then it is linear, a multinomial logit.

    Its input is each frame of an utterance with its neighbours, or a token as a whole.
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
        """Sizes.

        Args:
            num_experts: Independent copies.
            num_features: Features of a frame.
            num_outputs: Outputs of a frame, or of a token.
            hidden: Units of every layer before the last.
            kernel: Frames of the input for the scores of a frame; odd.
            token_frames: Frames of a token, taken as a whole; None for utterances.
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
        """Independent copies."""
        return len(next(self.parameters()))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Scores of the outputs.

        Args:
            frames: Shape (experts or 1, slots, frames, features); zero where masked.
            mask: Unused: what is masked is zero, as is what lies beyond a recording's ends. Shape
                (experts or 1, slots, frames).

        Returns:
            Scores before the softmax, shape (experts, slots, frames, outputs); one frame for a
            token.
        """
        values = self.seen(frames)
        *hidden, output = self.layers
        for layer in hidden:
            values = functional.relu(layer(values))
        scores: Tensor = output(values)
        return scores

    def seen(self, frames: Tensor) -> Tensor:
        """Inputs of the first layer, shape (experts or 1, slots, frames or 1, inputs)."""
        if self.token_frames is None:
            return splice(frames, self.kernel)
        return frames.flatten(2)[:, :, None]
