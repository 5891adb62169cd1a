"""A TDNN whose first layer does not mind shifts in frequency (Hampshire & Waibel 1989).

Legend: E experts, S tokens (slots) of each, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN
from phoneme_moe.mixture.networks.time_delay import ExpertLinear


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
        places = inputs.view(*inputs.shape[:-1], -1, self.num_features).unfold(-1, self.bands, 1)
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
