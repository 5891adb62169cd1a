"""Batches of the 1989 time-delay neural network for tokens of a fixed number of frames.

Legend: E experts, S tokens (slots) of each expert, T frames, F features, P classes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from phoneme_moe.mixture.networks.time_delay import ExpertLinear, splice


class TokenTDNN(nn.Module):
    """The 1989 network: logits of the classes for a token of a fixed number of frames.

    The units of its two sigmoid layers see ``windows`` frames each; the second layer has one row of
    units for each class, which the output sums over time (Waibel et al. 1989; sizes agree with the
    published number of connections). The outputs are normalised by a softmax instead of the
    original's sigmoids, since the mixture needs a distribution.

    In a gate, the second hidden layer may have more rows than there are classes (the sizes of the
    original gate are unknown); every class then has a weight for all rows.
    """

    def __init__(
        self,
        num_experts: int,
        num_features: int,
        num_frames: int,
        num_outputs: int,
        hidden: tuple[int, int] = (8, 3),
        windows: tuple[int, int] = (3, 5),
    ) -> None:
        """Creates the layers with initial weights.

        Args:
            num_experts: Number of independent networks.
            num_features: Features of a frame.
            num_frames: Frames of a token.
            num_outputs: Classes.
            hidden: Units of the two hidden layers.
            windows: Input frames of a unit in each of them.
        """
        super().__init__()
        self.windows = windows
        self.num_positions = (
            num_frames - windows[0] + 1,
            num_frames - windows[0] - windows[1] + 2,
        )
        if self.num_positions[1] < 1:
            raise ValueError(f"{num_frames} frames are too few for windows {windows}")
        self.hidden1: nn.Module = ExpertLinear(num_experts, num_features * windows[0], hidden[0])
        self.fan_in = num_features * windows[0]
        self.hidden2 = ExpertLinear(num_experts, hidden[0] * windows[1], hidden[1])
        self.row_per_class = hidden[1] == num_outputs
        if self.row_per_class:
            # A class has one weight, for its row of units, shared by all positions.
            self.output_weight = nn.Parameter(torch.ones(num_experts, 1, num_outputs))
            self.output_bias = nn.Parameter(torch.zeros(num_experts, 1, num_outputs))
        else:
            self.output = ExpertLinear(num_experts, hidden[1], num_outputs)

    @property
    def num_experts(self) -> int:
        """Number of independent networks."""
        return self.hidden2.num_experts

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """Computes the logits of the classes.

        Args:
            frames: Shape (experts or 1, slots, frames, features).
            mask: Not used, since tokens have no padding.

        Returns:
            Logits, shape (experts, slots, 1, outputs).
        """
        summed = self.rows(frames)
        if self.row_per_class:
            scores = torch.addcmul(self.output_bias, summed, self.output_weight)
        else:
            scores = self.output(summed[:, :, None])[:, :, 0]
        return scores[:, :, None]

    def rows(self, frames: Tensor) -> Tensor:
        """The second hidden layer, summed over time: the input of the output layer.

        Args:
            frames: Shape (experts or 1, slots, frames, features).

        Returns:
            Shape (experts, slots, rows).
        """
        first = torch.sigmoid(self.hidden1(splice(frames, self.windows[0], padding=False)))
        second = torch.sigmoid(self.hidden2(splice(first, self.windows[1], padding=False)))
        return second.sum(dim=2)

    @property
    def num_weights(self) -> int:
        """Free weights of one network: 521 for the published sizes."""
        return sum(p[0].numel() for p in self.parameters())

    @property
    def num_connections(self) -> int:
        """Connections of one network, counted as published: 6,233 for the published sizes.

        Every unit at every position counts its inputs and a bias; an output counts one connection
        to each position of its row, and a bias.
        """
        inputs2, units2 = self.hidden2.weight.shape[1:]
        units1 = inputs2 // self.windows[1]
        first, second = self.num_positions
        if self.row_per_class:
            output = units2 * (second + 1)
        else:
            output = self.output.weight.shape[2] * (units2 * second + 1)
        return first * units1 * (self.fan_in + 1) + second * units2 * (inputs2 + 1) + output


Copies = TypeVar("Copies", bound=nn.Module)


@torch.no_grad()
def take(network: Copies, which: Sequence[int]) -> Copies:
    """Selects some of the networks of a module, as a new module.

    Args:
        network: Module whose parameters all have the networks as their first dimension.
        which: Indices of the networks, in the order of the result; may repeat.
    """
    taken = copy.deepcopy(network)
    for parameter in taken.parameters():
        parameter.data = parameter[list(which)].clone()
    return taken
