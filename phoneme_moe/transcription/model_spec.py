"""What must be known of a model to transcribe with it; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.features.log_mel_numpy import FrontEnd

Floats = NDArray[np.float32]
Scores = NDArray[np.float32] | NDArray[np.float16]


def side_by_side(rows: Sequence[Scores]) -> Floats:
    """Rows of unequal length as one array, shape (rows, longest, columns), zeros beyond each end.

    Args:
        rows: Shape (frames, columns) each; at least one.
    """
    padded = np.zeros((len(rows), max(map(len, rows)), rows[0].shape[1]), np.float32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


@dataclass(frozen=True)
class ModelSpec:
    """A model as transcription sees it.

    Attributes:
        source: The run folder or the ONNX file.
        recipe: Name of its recipe.
        corpus: Whose speech it learned.
        phonemes: Its phoneme set.
        experts: Names of the experts whose weights it tells, of a gate or of a sparse layer.
        features: How ``FrontEnd`` is made: section of the recipe, without ``stack``.
        stack: Feature frames that are one frame of posteriors.
        tokens: Whether it names the phoneme of one excised token only.
        token_ms: Length of a token in milliseconds.
        onset_ms: Where in the token its phoneme begins, in milliseconds.
        context: Frames of posteriors that it looks at to either side; None where one part of it
            looks at the whole utterance.
        embedding_size: Length of the vector that it needs for each recording; None without.
        decoding: How phonemes are read off its posteriors.
    """

    source: str
    recipe: str
    corpus: str
    phonemes: PhonemeSet
    experts: tuple[str, ...]
    features: Mapping[str, Any]
    stack: int
    tokens: bool
    token_ms: float
    onset_ms: float
    context: int | None
    embedding_size: int | None = None
    decoding: Decoding = field(default_factory=Decoding)

    @property
    def feature_seconds(self) -> float:
        """Seconds from one feature frame to the next."""
        rate: int = self.features["sample_rate"]
        hop: int = round(rate * self.features["hop_ms"] / 1000)
        return hop / rate

    def front_end(self) -> FrontEnd:
        """Its features."""
        return FrontEnd(**self.features)


@dataclass(frozen=True)
class ModelOutput:
    """What a model says of a batch.

    Attributes:
        log_posteriors: Natural logarithms, shape (batch, frames, outputs).
        weights: Of the experts, shape (batch, frames, experts).
        timing: Scores of the net that finds times, shape (batch, feature frames, outputs); None
            without one.
        shifted: Log posteriors of the same sound a feature frame later, two later and so on, where
            a reading pools them (``Decoding.num_shifts``); shape (batch, frames, outputs) each.
    """

    log_posteriors: Floats
    weights: Floats
    timing: Scores | None
    shifted: tuple[Floats, ...] = ()


class Engine(Protocol):
    """A model ready to listen: a run through torch, or an ONNX file."""

    spec: ModelSpec

    def infer(
        self,
        features: Floats,
        num_frames: NDArray[np.int64],
        embedding: Floats | None = None,
        timed: bool = True,
    ) -> ModelOutput:
        """Recognises utterances.

        Args:
            features: Shape (batch, feature frames, mel bands), zero beyond each one's end.
            num_frames: Feature frames of each, shape (batch,).
            embedding: A vector of each from outside, shape (batch, size), where it needs one.
            timed: Asks the net that finds times too, where there is one.
        """
        ...

    def leave_cores(self, number: int) -> AbstractContextManager[None]:
        """Uses that many fewer cores within, but one at least: others read files there."""
        ...
