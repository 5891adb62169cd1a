"""From posteriors to phonemes with times and confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.speech.phonemes import BLANK, PhonemeSet


@dataclass(frozen=True)
class Segment:
    """A decoded phoneme.

    Attributes:
        phoneme: Its symbol.
        start: Where it begins, in seconds.
        end: Where it ends, in seconds; never past the end of the recording.
        confidence: Probability that it was said, 0..1 (``transcription.confidence``).
        experts: Mean weight of each expert over its frames, by name; empty without experts.
    """

    phoneme: str
    start: float
    end: float
    confidence: float
    experts: Mapping[str, float] = field(default_factory=dict)


def decode_greedy(
    log_posteriors: NDArray[np.float32],
    phonemes: PhonemeSet,
    frame_seconds: float,
    duration: float,
) -> list[Segment]:
    """Best path through a CTC model: the likeliest output of each frame, runs joined, blanks out.

    Graves et al. 2006, section 3.2. A segment covers the frames in which its phoneme is the
    likeliest output; CTC peaks late and briefly, so these are where it was recognised and are
    shorter than the phoneme itself.

    Args:
        log_posteriors: Shape (frames, outputs), natural logarithm.
        phonemes: The phoneme set, blank first.
        frame_seconds: Seconds from one frame to the next.
        duration: Seconds of the recording.
    """
    best = log_posteriors.argmax(axis=1)
    edges = [0, *(np.flatnonzero(np.diff(best)) + 1), len(best)]
    segments = []
    for first, last in pairwise(edges):
        output = int(best[first])
        if output == BLANK:
            continue
        confidence = float(np.exp(log_posteriors[first:last, output]).mean())
        segments.append(
            Segment(
                phoneme=phonemes.decode([output])[0],
                start=float(min(first * frame_seconds, duration)),
                end=float(min(last * frame_seconds, duration)),
                confidence=min(confidence, 1.0),
            )
        )
    return segments
