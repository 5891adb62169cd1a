"""The interface between transcription and a model; nothing here needs torch."""

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


def pad_rows(rows: Sequence[Scores]) -> Floats:
    """Arrays of unequal length as one, shape (rows, longest, columns), zero beyond each end.

    Args:
        rows: Shape (frames, columns) each; at least one.
    """
    padded = np.zeros((len(rows), max(map(len, rows)), rows[0].shape[1]), np.float32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


@dataclass(frozen=True)
class ModelSpec:
    """Everything about a model but its weights.

    Attributes:
        source: The run folder or the ONNX file.
        recipe: Name of its recipe.
        corpus: Name of its training corpus.
        phonemes: Its phoneme set.
        experts: Names of the experts of its gate or last sparse layer, in the order of
            ``ModelOutput.weights``.
        features: Arguments of ``FrontEnd``: the recipe's section without ``stack``.
        stack: Feature frames per frame of posteriors.
        tokens: Whether it classifies excised tokens of one phoneme.
        token_ms: Length of a token in milliseconds.
        onset_ms: Where in the token its phoneme begins, in milliseconds.
        context: Receptive field to either side, in frames of posteriors; None if a part of the
            model sees the whole utterance.
        embedding_size: Length of the embedding that it takes for each recording; None without.
        decoding: How its posteriors are decoded.
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
        """Computes its features."""
        return FrontEnd(**self.features)


@dataclass(frozen=True)
class ModelOutput:
    """The output of a model for a batch.

    Attributes:
        log_posteriors: Natural logarithms, shape (batch, frames, outputs).
        weights: Of the experts, shape (batch, frames, experts).
        timing: Scores of the timing net, shape (batch, feature frames, outputs); None without one.
        shifted: Log posteriors of the input shifted by one feature frame, two and so on, for
            test-time augmentation (``Decoding.num_shifts``); shape (batch, frames, outputs) each.
    """

    log_posteriors: Floats
    weights: Floats
    timing: Scores | None
    shifted: tuple[Floats, ...] = ()


class Engine(Protocol):
    """A model ready for inference: a run through torch, or an ONNX file."""

    spec: ModelSpec

    def infer(
        self,
        features: Floats,
        num_frames: NDArray[np.int64],
        embedding: Floats | None = None,
        timed: bool = True,
    ) -> ModelOutput:
        """Runs the model on a batch of utterances.

        Args:
            features: Shape (batch, feature frames, mel bands), zero beyond each one's end.
            num_frames: Feature frames of each, shape (batch,).
            embedding: Of each recording, shape (batch, size), if the model takes one.
            timed: Whether to run the timing net, if there is one.
        """
        ...

    def leave_cores(self, number: int) -> AbstractContextManager[None]:
        """Within, the model uses that many fewer cores, but at least one: others read files."""
        ...
