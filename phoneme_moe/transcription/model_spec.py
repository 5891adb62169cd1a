"""The interface between transcription and a model; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import InputError
from phoneme_moe.features.log_mel_numpy import FrontEnd
from phoneme_moe.transcription.recording import EncodingFrontEnd

Floats = NDArray[np.float32]
Scores = NDArray[np.float32] | NDArray[np.float16]


def pad_rows(rows: Sequence[Scores]) -> Floats:
    """Stacks arrays of unequal length, padded with zeros to shape (rows, longest, columns).

    Args:
        rows: At least one array of shape (frames, columns).
    """
    padded = np.zeros((len(rows), max(map(len, rows)), rows[0].shape[1]), np.float32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


@dataclass(frozen=True)
class ModelSpec:
    """Everything about a model except its weights.

    Attributes:
        source: Run folder or ONNX file of the model.
        recipe: Name of its recipe.
        corpus: Name of its training corpus.
        phonemes: Its phoneme set.
        experts: Names of the experts of its gate or last sparse layer, in the order of
            ``ModelOutput.weights``.
        features: Arguments of ``FrontEnd``; with ``encode``, the sample rate and ``hop_ms`` only.
        stack: Feature frames per frame of posteriors.
        tokens: Whether the model classifies excised tokens of one phoneme.
        token_ms: Length of a token in milliseconds.
        onset_ms: Onset of the phoneme within the token, in milliseconds.
        context: Receptive field on either side, in frames of posteriors; None if a part of the
            model sees the whole utterance.
        embedding_size: Length of the embedding that the model takes for each recording; None if it
            takes none.
        decoding: Settings for decoding its posteriors.
        encode: Computes the hidden states of a pretrained encoder, which are the features of the
            model, from a waveform; None for log mel features.
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
    encode: Callable[[Waveform], Floats] | None = None

    @property
    def feature_seconds(self) -> float:
        """Seconds from one feature frame to the next."""
        rate: int = self.features["sample_rate"]
        hop: int = round(rate * self.features["hop_ms"] / 1000)
        return hop / rate

    def with_best_search(self) -> ModelSpec:
        """The same, decoded by the search with the fewest errors, however slow."""
        return replace(self, decoding=self.decoding.with_best())

    def front_end(self) -> FrontEnd:
        """The front end that computes the model's features."""
        if self.encode is not None:
            return EncodingFrontEnd(self.encode, self.features["hop_ms"])
        return FrontEnd(**self.features)


@dataclass(frozen=True)
class ModelOutput:
    """The output of a model for a batch.

    Attributes:
        log_posteriors: Natural logarithms of posteriors, shape (batch, frames, outputs).
        weights: Weights of the experts, shape (batch, frames, experts).
        timing: Scores of the timing net, shape (batch, feature frames, outputs); None without one.
        shifted: Log posteriors of the input shifted by one feature frame, two and so on, for
            test-time augmentation (``Decoding.num_shifts``); shape (batch, frames, outputs) each.
    """

    log_posteriors: Floats
    weights: Floats
    timing: Scores | None
    shifted: tuple[Floats, ...] = ()


def check_output(
    output: ModelOutput, spec: ModelSpec, num_frames: NDArray[np.int64], feature_frames: int
) -> ModelOutput:
    """Checks the output of a model for a batch, except frames beyond the end of an utterance.

    Args:
        output: The output.
        spec: The model's specification.
        num_frames: Number of feature frames of each utterance, shape (batch,).
        feature_frames: Feature frames of the batch.

    Returns:
        The output.

    Raises:
        InputError: An array has another shape or type, or posteriors that are not numbers.
    """
    batch, outputs = len(num_frames), spec.phonemes.num_outputs
    frames = 1 if spec.tokens else -(-feature_frames // spec.stack)
    step = feature_frames if spec.tokens else spec.stack
    for name, array, shape, frames_of_row in (
        ("log_posteriors", output.log_posteriors, (batch, frames, outputs), step),
        ("weights", output.weights, (batch, frames, len(spec.experts)), step),
        ("timing", output.timing, (batch, feature_frames, outputs), 1),
    ):
        if array is None:
            continue
        if array.shape != shape or array.dtype not in (np.float32, np.float16):
            raise InputError(
                f"{spec.source}: {name}: found {array.dtype} of shape {array.shape}, expected "
                f"float32 of shape {shape}"
            )
        real = np.arange(shape[1]) * frames_of_row < num_frames[:, None]
        # The greatest of a row with something that is not a number is none, too.
        if not np.isfinite(array.max(axis=-1)[real]).all():
            raise InputError(
                f"{spec.source}: {name}: found values that are not finite numbers: the weights are "
                "too large, from a training that diverged or a damaged file"
            )
    return output


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
            features: Features, shape (batch, feature frames, mel bands), zero beyond each end.
            num_frames: Number of feature frames of each utterance, shape (batch,).
            embedding: Embedding of each recording, shape (batch, size), if the model takes one.
            timed: Whether to run the timing net, if there is one.
        """
        ...

    def leave_cores(self, number: int) -> AbstractContextManager[None]:
        """A context in which the model leaves this many cores (but not all) to file readers."""
        ...
