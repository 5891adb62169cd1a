"""Inference with an exported model, through onnxruntime; nothing here imports torch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import shorten
from phoneme_moe.files.writing import path_text
from phoneme_moe.transcription.model_spec import Floats, ModelOutput, check_output
from phoneme_moe.transcription.onnx_encoder import OnnxEncoder
from phoneme_moe.transcription.onnx_metadata import (
    ENCODER_FORMAT,
    FORMAT,
    OnnxHiddenStates,
    OnnxSpec,
)
from phoneme_moe.transcription.onnx_session import OnnxSession


class OnnxEngine:
    """The model of an ONNX file (``transcription.model_spec.Engine``)."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Opens the file, and that of its pretrained encoder if it has one.

        Args:
            path: Written by ``transcription.export``.
            threads: Number of threads; by default one per usable core.

        Raises:
            InputError: onnxruntime is not installed, or a file is missing or not an exported model.
        """
        self.session = OnnxSession(path, threads)
        found = self.session.metadata.get("format")
        if found == ENCODER_FORMAT:
            raise InputError(
                f"{path}: found the encoder of a model, expected the file that it belongs to"
            )
        if found != FORMAT:
            raise InputError(f"{path}: not exported by phoneme-moe: no format in its metadata")
        document = OnnxSpec.parse_json(self.session.metadata.get("card", ""), f"{path}: card")
        self.spec = document.model_spec(path_text(path))
        ngram = self.spec.decoding.language_model
        if ngram is not None and ngram.symbols != self.spec.phonemes.symbols:
            raise InputError(
                f"{path}: card: decoding.language_model.symbols: found "
                f"{shorten(list(ngram.symbols))}, expected the phonemes of the card"
            )
        self._check(document.features.num_features)
        if isinstance(document.features, OnnxHiddenStates):
            encoder = OnnxEncoder(path, document.features, threads)
            self.spec = replace(self.spec, encode=encoder)

    def _check(self, num_features: int) -> None:
        """Compares the network with its metadata."""
        expected_inputs = {"features", "num_frames"}
        if self.spec.embedding_size is not None:
            expected_inputs.add("embedding")
        # All tokens have the same length, so their model may not use num_frames.
        expected_inputs -= {"num_frames"} - set(self.session.inputs)
        self.session.require(expected_inputs, {"log_posteriors", "weights"})
        self.session.require_columns("features", num_features)
        self.session.require_columns("log_posteriors", self.spec.phonemes.num_outputs)
        self.session.require_columns("weights", len(self.spec.experts))
        names = ("log_posteriors", "weights", "timing")
        self._outputs = [name for name in names if name in self.session.outputs]

    def infer(
        self,
        features: Floats,
        num_frames: NDArray[np.int64],
        embedding: Floats | None = None,
        timed: bool = True,
    ) -> ModelOutput:
        """See ``transcription.model_spec.Engine``."""
        inputs: dict[str, NDArray[Any]] = {"features": features}
        inputs["num_frames"] = np.asarray(num_frames, np.int64)
        if embedding is not None:
            inputs["embedding"] = embedding
        inputs = {name: value for name, value in inputs.items() if name in self.session.inputs}
        outputs = self._outputs if timed else self._outputs[:2]
        log_posteriors, weights, *timing = self.session.run(outputs, inputs)
        output = ModelOutput(log_posteriors, weights, timing[0] if timing else None)
        return check_output(output, self.spec, np.asarray(num_frames), features.shape[1])

    def leave_cores(self, number: int) -> AbstractContextManager[None]:
        """Does nothing: the threads of a session are fixed, but do not spin."""
        return nullcontext()
