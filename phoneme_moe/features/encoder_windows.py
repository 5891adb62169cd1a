"""Windows in which a pretrained encoder takes a long recording; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SAMPLE_RATE = 16_000

HOP = 320
"""Samples of a frame: 20 ms."""

WINDOW_SECONDS = 20.0
CONTEXT_SECONDS = 5.0
"""Longer recordings are encoded in windows with context on either side: Whisper's positions end at
30 s, and attention costs the square of the length."""


@dataclass(frozen=True)
class EncoderWindow:
    """A window of a recording.

    Attributes:
        samples: Its samples, with the context.
        frames: The frames of its hidden states that are kept, without the context.
    """

    samples: slice
    frames: slice


def encoder_windows(num_samples: int) -> Iterator[EncoderWindow]:
    """The windows of a recording, whose frames follow one another; one window up to 30 s.

    The frames of the last one may go beyond the recording's.
    """
    size = round(WINDOW_SECONDS * SAMPLE_RATE)
    margin = round(CONTEXT_SECONDS * SAMPLE_RATE)
    if num_samples <= size + 2 * margin:
        yield EncoderWindow(slice(0, num_samples), slice(None))
        return
    for first in range(0, num_samples // HOP * HOP, size):
        begin = max(0, first - margin)
        skipped = (first - begin) // HOP
        yield EncoderWindow(
            slice(begin, first + size + margin), slice(skipped, skipped + size // HOP)
        )
