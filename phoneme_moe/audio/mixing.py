"""From the channels of a recording to one: mixing, and removal of a constant offset (DC).

Legend: a block has shape (samples, channels); results have shape (samples,).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CANCELLATION = 0.1
"""Channels cancel out if their mean has less than this share of the power that the mean of
uncorrelated channels has: -10 dB, for two channels a correlation below -0.9."""

DC_SHARE = 0.5
"""A mean above this share of the standard deviation is an offset of the recorder. Speech without
offset stays as it is, bit for bit."""

_SILENT_POWER = 1e-10
"""Power of -100 dB of full scale."""


class Mixer:
    """Mixes the channels of a recording, block by block.

    The mean of all channels is taken, unless they cancel out, as when one channel is inverted: then
    the loudest channel is taken from there on.
    """

    def __init__(self, num_channels: int, channel: int | None = None) -> None:
        """Prepares for a recording.

        Args:
            num_channels: Number of channels of the recording.
            channel: Channel to take, from 1; by default the channels are mixed.
        """
        self._channel = None if channel is None else channel - 1
        self._powers = np.zeros(num_channels)
        self._power_of_mean = 0.0
        self.note = ""
        """What was done instead of mixing; "" if nothing was."""

    def __call__(self, block: Floats) -> Floats:
        """Mixes the next block."""
        if self._channel is not None or block.shape[1] == 1:
            mono: Floats = block[:, self._channel or 0]
            return mono
        mean: Floats = block.mean(axis=1)
        self._powers += np.einsum("sc,sc->c", block, block, dtype=np.float64)
        self._power_of_mean += float(np.einsum("s,s->", mean, mean, dtype=np.float64))
        uncorrelated = float(self._powers.mean()) / block.shape[1]
        if (
            uncorrelated > _SILENT_POWER * len(block)
            and self._power_of_mean < CANCELLATION * uncorrelated
        ):
            self._channel = int(self._powers.argmax())
            self.note = self._describe(uncorrelated)
            loudest: Floats = block[:, self._channel]
            return loudest
        return mean

    def _describe(self, uncorrelated: float) -> str:
        assert self._channel is not None
        chosen = f"channel {self._channel + 1}, the loudest, is used"
        if self._power_of_mean <= uncorrelated * 1e-12:
            return f"its channels cancel out; {chosen}"
        decibels = 10 * math.log10(uncorrelated / self._power_of_mean)
        return f"its channels nearly cancel out (by {decibels:.0f} dB); {chosen}"


class OffsetRemoval:
    """Removes a constant offset (DC) of a recording, which is measured in its first block."""

    def __init__(self) -> None:
        """Prepares for a recording."""
        self._offset: np.float32 | None = None

    def __call__(self, samples: Floats) -> Floats:
        """Removes the offset from the next block, shape (samples,)."""
        if self._offset is None and len(samples):
            mean = float(samples.mean(dtype=np.float64))
            significant = abs(mean) > DC_SHARE * float(samples.std(dtype=np.float64))
            self._offset = np.float32(mean if significant else 0.0)
        if not self._offset:
            return samples
        without: Floats = samples - self._offset
        return without
