"""What routers decide on: their input, such as a frame with its context, and scores of experts.

Legend: D decisions (frames or utterances), C channels, E experts, B batch, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.networks.time_delay import splice

INITIAL_SPREAD = 0.02
"""Standard deviation of a learned router's initial weights: nearly uniform probabilities."""


class Scores(nn.Module):
    """Maps the inputs of a router, (decisions, channels), to scores, (decisions, experts).

    Attributes:
        num_features: Channels of the inputs.
        num_experts: Number of experts.
    """

    def __init__(self, num_features: int, num_experts: int, seed: int = 0) -> None:
        """Sets the sizes.

        Args:
            num_features: Channels of the inputs.
            num_experts: Number of experts.
            seed: Number of the block, for scores that are drawn once and not learned.
        """
        super().__init__()
        self.num_features = num_features
        self.num_experts = num_experts

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a decision: one for each number that is learned or drawn."""
        return sum(tensor.numel() for tensor in (*self.parameters(), *self.buffers()))


class LinearScores(Scores):
    """Learned scores: a linear map without bias, in float32 (Switch: Fedus et al. 2021)."""

    def __init__(self, num_features: int, num_experts: int, seed: int = 0) -> None:
        super().__init__(num_features, num_experts, seed)
        self.weight = nn.Parameter(torch.randn(num_experts, num_features) * INITIAL_SPREAD)

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps inputs of shape (decisions, channels) to scores of shape (decisions, experts)."""
        with torch.autocast(inputs.device.type, enabled=False):
            return functional.linear(inputs.float(), self.weight.float())


class HashScores(Scores):
    """Scores that are not learned: cosines with fixed random directions.

    Hash layers (Roller et al. 2021) hash a word. A frame has none, so the direction of its vector
    is hashed (cross-polytope hashing: Andoni et al. 2015), and similar frames get the same experts.
    """

    directions: Tensor

    def __init__(self, num_features: int, num_experts: int, seed: int = 0) -> None:
        super().__init__(num_features, num_experts, seed)
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(num_experts, num_features, generator=generator)
        self.register_buffer("directions", functional.normalize(directions, dim=-1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Cosines with the directions, shape (decisions, experts), without gradient."""
        with torch.autocast(inputs.device.type, enabled=False):
            unit = functional.normalize(inputs.detach().float(), dim=-1)
            return functional.linear(unit, self.directions.float())


class GivenScores(Scores):
    """The scores of a rule, passed through."""

    def __init__(self, num_experts: int) -> None:
        super().__init__(num_experts, num_experts)

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs, shape (decisions, experts)."""
        return inputs


class ContextWindow(nn.Module):
    """A small TDNN over a frame and its neighbours, as the input of a router."""

    def __init__(self, num_features: int, width: int, window: int) -> None:
        """Creates the layers with initial weights.

        Args:
            num_features: Channels of a frame.
            width: Channels of the router's input.
            window: Frames of the context, 4 n + 1: two layers of (window + 1) / 2 frames.
        """
        super().__init__()
        self.kernel = (window + 1) // 2
        self.first = nn.Linear(num_features, width)
        self.second = nn.Linear(width * self.kernel, width)
        self.third = nn.Linear(width * self.kernel, width)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Maps (batch, frames, channels) to (batch, frames, width)."""
        real = mask[..., None]
        hidden = functional.relu(self.first(frames)) * real
        hidden = functional.relu(self.second(splice(hidden, self.kernel))) * real
        output: Tensor = self.third(splice(hidden, self.kernel))
        return output


def mean_over_frames(frames: Tensor, mask: Tensor) -> Tensor:
    """Mean of an utterance's real frames, shape (batch, channels)."""
    real = mask[..., None].to(frames.dtype)
    return (frames * real).sum(dim=1) / real.sum(dim=1).clamp_min(1)
