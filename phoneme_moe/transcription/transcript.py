"""What was recognised in a recording, as plain data; nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phoneme_moe.decoding.decoder import Segment


@dataclass(frozen=True)
class Alternative:
    """One of the best readings of a recording.

    Attributes:
        phonemes: In order.
        score: Logarithm of its probability, by the model and the n-gram as they are weighed.
    """

    phonemes: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class Transcript:
    """What was recognised in a recording.

    Attributes:
        path: The file.
        duration: Its length in seconds.
        segments: The phonemes in order; none overlaps the next or ends past the end.
        silences: Start and end of the stretches without speech, in seconds.
        routing: Mean weight of each expert over the file, by name; sums to 1. Of an encoder: in its
            last sparse layer.
        run: What recognised it: the run folder or the ONNX file.
        recipe: Name of its recipe.
        fold: Phoneme set that the symbols were folded onto; None as the run has them.
        symbols: ``arpabet``, ``ipa``, or what the run's corpus has.
        alternatives: The best readings, best first, where several were asked for.
    """

    path: Path
    duration: float
    segments: tuple[Segment, ...]
    silences: tuple[tuple[float, float], ...]
    routing: dict[str, float]
    run: str
    recipe: str
    fold: str | None = None
    symbols: str | None = None
    alternatives: tuple[Alternative, ...] = ()

    @property
    def phonemes(self) -> tuple[str, ...]:
        """The phonemes alone."""
        return tuple(segment.phoneme for segment in self.segments)
