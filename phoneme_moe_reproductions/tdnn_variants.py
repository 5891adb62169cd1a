"""Variants of the TDNN: shift-invariant in frequency (FSTDNN), and joined from modules (Modular).

Legend: E experts, S tokens (slots) of each, T frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN
from phoneme_moe.mixture.networks.time_delay import ExpertLinear


class FrequencyShiftLayer(nn.Module):
    """Detectors that share their weights over positions in the spectrum.

    The spectrum is divided into ranges, roughly those of the first three formants. Within a range
    each ply has one detector of a few bands, moved band by band, so that a pattern may be shifted
    in frequency, as formants are from speaker to speaker.
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
            window: Frames in a detector.
            bands: Adjacent bands in a detector.
            ranges: First and last position (lowest band) of the detectors of each range.
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
        positions = inputs.view(*inputs.shape[:-1], -1, self.num_features).unfold(-1, self.bands, 1)
        positions = positions.transpose(-2, -3).flatten(-2)  # (E, S, T, positions, window * bands)
        activations = [
            detector(positions[:, :, :, first : last + 1].flatten(2, 3)).unflatten(2, (frames, -1))
            for detector, (first, last) in zip(self.detectors, self.ranges, strict=True)
        ]
        return torch.cat([values.flatten(3) for values in activations], dim=-1)


class FrequencyShiftTDNN(TokenTDNN):
    """A TDNN whose first layer is invariant to shifts in frequency (Hampshire & Waibel 1989).

    The published counts of connections, 5,357 for one ply and 6,947 for two, fix the number of its
    first-layer units: detectors of 3 frames by 3 bands (10 weights with the bias, 30 in all with
    one for each of three ranges, as the paper says) at 20 positions, or two at each of 13.
    The positions are not known; chosen here are three overlapping ranges of the 16 bands.
    """

    POSITIONS: ClassVar = {1: ((0, 5), (3, 9), (7, 13)), 2: ((0, 3), (5, 8), (9, 13))}
    """By plies: first and last position of each range, 20 and 13 in all."""

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
            num_experts, num_features, window, bands, self.POSITIONS[plies], plies
        )
        super().__init__(
            num_experts, num_features, num_frames, num_outputs, (layer.num_units, num_outputs)
        )
        self.hidden1 = layer
        self.fan_in = window * bands


class ModularTDNN(nn.Module):
    """Trained nets as one larger net: every class has a row of units in all of them.

    The first layers are frozen; those above (``higher_layers``) are trained further. The nets meet
    at the outputs only (Modular TDNN, Waibel, Sawai & Shikano 1989; Hampshire & Waibel 1989).
    """

    def __init__(self, modules: TokenTDNN) -> None:
        """Begins as the mean of the modules' scores.

        Args:
            modules: One copy for each module, a row for each class; the net is changed in place.
        """
        super().__init__()
        if not modules.row_per_class:
            raise ValueError("a module has fewer rows than classes, expected a row for each class")
        self.modules_ = modules
        modules.hidden1.requires_grad_(False)
        count = len(modules.output_weight)
        self.weight = nn.Parameter(modules.output_weight.detach()[:, 0] / count)
        self.bias = nn.Parameter(modules.output_bias.detach()[:, 0].mean(dim=0))

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """Scores of the classes, shape (slots, classes).

        Args:
            frames: The same for all modules, shape (1, slots, frames, features).
            mask: Unused: a token has no padding.
        """
        return torch.einsum("knp,kp->np", self.modules_.rows(frames), self.weight) + self.bias

    def higher_layers(self) -> Iterator[nn.Parameter]:
        """Parameters trained after joining: the second hidden layer and the outputs."""
        yield from self.modules_.hidden2.parameters()
        yield self.weight
        yield self.bias

    @property
    def num_connections(self) -> int:
        """Connections, counted as published: those of the modules, whose outputs are joined."""
        modules, classes = self.weight.shape
        positions = self.modules_.num_positions[1]
        without_outputs = self.modules_.num_connections - classes * (positions + 1)
        return modules * without_outputs + classes * (modules * positions + 1)
