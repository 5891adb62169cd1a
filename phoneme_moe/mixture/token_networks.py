"""The networks of 1989 for tokens of a fixed number of frames, many of one shape side by side.

Legend: E experts, S tokens (slots) of each, T frames, F features, P classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from phoneme_moe.mixture.time_delay import ExpertLinear, splice


class TokenTDNN(nn.Module):
    """The 1989 network: a token of a fixed number of frames to one distribution over classes.

    Two layers of sigmoid units look at ``windows`` frames each; the second has one row of units for
    each class, which its output sums over time (Waibel et al. 1989; sizes verified by the published
    count of connections). Scores go through a softmax, where the original has a sigmoid for each
    class: the mixture needs a distribution.

    The second hidden layer may have more rows than there are classes only in a gate (the original's
    gate sizes are unknown); then every class sums over all rows.
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
        """Plain sizes.

        Args:
            num_experts: Independent copies.
            num_features: Features of a frame.
            num_frames: Frames of a token.
            num_outputs: Classes.
            hidden: Units of the two hidden layers.
            windows: Frames that each of them looks at.
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
            # One weight, shared by all positions, from a class's own row of units.
            self.output_weight = nn.Parameter(torch.ones(num_experts, 1, num_outputs))
            self.output_bias = nn.Parameter(torch.zeros(num_experts, 1, num_outputs))
        else:
            self.output = ExpertLinear(num_experts, hidden[1], num_outputs)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            frames: Shape (experts or 1, slots, frames, features).
            mask: Unused: a token has no padding. Shape (experts or 1, slots, frames).

        Returns:
            Scores before the softmax, shape (experts, slots, 1, outputs).
        """
        summed = self.rows(frames)
        if self.row_per_class:
            scores = torch.addcmul(self.output_bias, summed, self.output_weight)
        else:
            scores = self.output(summed[:, :, None])[:, :, 0]
        return scores[:, :, None]

    def rows(self, frames: Tensor) -> Tensor:
        """The second hidden layer, summed over time; what the outputs see.

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
        """Free weights of one copy: 521 for the published sizes."""
        return sum(p[0].numel() for p in self.parameters())

    @property
    def num_connections(self) -> int:
        """Connections of one copy, counted as published: 6,233 for the published sizes.

        Every unit at every position has its inputs and a bias of its own; an output has one
        connection to each position of its row, and a bias.
        """
        inputs2, units2 = self.hidden2.weight.shape[1:]
        units1 = inputs2 // self.windows[1]
        first, second = self.num_positions
        if self.row_per_class:
            output = units2 * (second + 1)
        else:
            output = self.output.weight.shape[2] * (units2 * second + 1)
        return first * units1 * (self.fan_in + 1) + second * units2 * (inputs2 + 1) + output


class FrequencyShiftLayer(nn.Module):
    """Units that look for the same thing at several places of the spectrum.

    The spectrum is divided into ranges, roughly those of the first three formants. Within a range
    each ply has one detector of a few bands, moved band by band: its weights are shared by all its
    places, so that what it finds may be shifted, as formants are from speaker to speaker.
    """

    def __init__(
        self,
        num_experts: int,
        num_features: int,
        window: int,
        bands: int,
        ranges: Sequence[tuple[int, int]],
        plies: int,
    ) -> None:
        """Plain sizes.

        Args:
            num_experts: Independent copies.
            num_features: Bands of a frame.
            window: Frames that a detector looks at.
            bands: Adjacent bands that a detector looks at.
            ranges: First and last place (lowest band) of the detectors of each range.
            plies: Detectors of each range.
        """
        super().__init__()
        self.num_features = num_features
        self.bands = bands
        self.ranges = tuple(ranges)
        self.detectors = nn.ModuleList(
            ExpertLinear(num_experts, window * bands, plies) for _ in self.ranges
        )
        self.num_units = plies * sum(last - first + 1 for first, last in self.ranges)

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps joined frames.

        Args:
            inputs: From ``splice``, shape (experts or 1, slots, frames, window * features).

        Returns:
            Shape (experts, slots, frames, units).
        """
        frames = inputs.shape[2]
        places = inputs.unflatten(-1, (-1, self.num_features)).unfold(-1, self.bands, 1)
        places = places.transpose(-2, -3).flatten(-2)  # (E, S, T, places, window * bands)
        found = [
            detector(places[:, :, :, first : last + 1].flatten(2, 3)).unflatten(2, (frames, -1))
            for detector, (first, last) in zip(self.detectors, self.ranges, strict=True)
        ]
        return torch.cat([values.flatten(3) for values in found], dim=-1)


class FrequencyShiftTDNN(TokenTDNN):
    """A TDNN whose first layer does not mind shifts in frequency (FSTDNN, Hampshire & Waibel 1989).

    The published counts of connections, 5,357 for one ply and 6,947 for two, fix the number of its
    first-layer units: detectors of 3 frames by 3 bands (10 weights with the bias, 30 in all with
    one for each of three ranges, as the paper says) at 20 places, or two at each of 13 places.
    Which places these are is not known; chosen here are three overlapping ranges of the 16 bands.
    """

    PLACES: ClassVar = {1: ((0, 5), (3, 9), (7, 13)), 2: ((0, 3), (5, 8), (9, 13))}
    """By plies: first and last place of each range, 20 and 13 in all."""

    def __init__(
        self, num_experts: int, num_features: int, num_frames: int, num_outputs: int, plies: int = 1
    ) -> None:
        """Plain sizes.

        Args:
            num_experts: Independent copies.
            num_features: Bands of a frame, 16 or more.
            num_frames: Frames of a token.
            num_outputs: Classes.
            plies: Detectors of each range, 1 or 2.
        """
        window, bands = 3, 3
        layer = FrequencyShiftLayer(
            num_experts, num_features, window, bands, self.PLACES[plies], plies
        )
        super().__init__(
            num_experts, num_features, num_frames, num_outputs, (layer.num_units, num_outputs)
        )
        self.hidden1 = layer
        self.fan_in = window * bands
