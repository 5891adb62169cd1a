"""The pretrained encoder of an exported model: the second ONNX file, beside the model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.errors import InputError
from phoneme_moe.features.encoder_windows import HOP, encoder_windows
from phoneme_moe.files.documents import require_regular
from phoneme_moe.files.hashes import hash_file
from phoneme_moe.transcription.model_spec import Floats
from phoneme_moe.transcription.onnx_metadata import OnnxHiddenStates
from phoneme_moe.transcription.onnx_session import OnnxSession


def encoder_path(path: Path) -> Path:
    """The file of the encoder of a model: ``model.encoder.onnx`` for ``model.onnx``."""
    return path.with_suffix(".encoder.onnx")


class OnnxEncoder:
    """Computes the hidden states of a pretrained encoder from an ONNX file."""

    def __init__(self, model: Path, features: OnnxHiddenStates, threads: int | None = None) -> None:
        """Opens the encoder of a model.

        Args:
            model: The model's file.
            features: What its metadata say about the encoder.
            threads: Number of threads; by default one per usable core.

        Raises:
            InputError: The file of the encoder is missing, or not the one that was exported with
                the model.
        """
        path = encoder_path(model)
        if not path.exists():
            raise InputError(
                f"{path}: no such file; expected the encoder that was exported with {model.name}"
            )
        require_regular(path, "an ONNX model")
        found = hash_file(path)
        if found != features.sha256:
            raise InputError(
                f"{path}: SHA-256: found {found}, expected {features.sha256}, that of the encoder "
                f"that was exported with {model.name}"
            )
        self.num_features = features.num_features
        self.session = OnnxSession(path, threads)
        self.session.require({"samples"}, {"hidden_states"})
        self.session.require_columns("hidden_states", features.num_features)

    def __call__(self, waveform: Waveform) -> Floats:
        """Computes the features of a recording of any length.

        Args:
            waveform: Waveform at 16 kHz, shape (samples,).

        Returns:
            Shape (frames, features).

        Raises:
            InputError: The file gives another shape, or values that are not numbers.
        """
        states = [
            self._encode(waveform[window.samples])[window.frames]
            for window in encoder_windows(len(waveform))
        ]
        return np.concatenate(states)[: len(waveform) // HOP]

    def _encode(self, waveform: Waveform) -> Floats:
        """Encodes up to 30 s, of which one frame at least is made."""
        frames = max(1, len(waveform) // HOP)
        samples = np.zeros(frames * HOP, np.float32)
        samples[: len(waveform)] = waveform[: len(samples)]
        (states,) = self.session.run(["hidden_states"], {"samples": samples})
        shape = (frames, self.num_features)
        if states.shape != shape or states.dtype != np.float32:
            raise InputError(
                f"{self.session.path}: hidden_states: found {states.dtype} of shape "
                f"{states.shape}, expected float32 of shape {shape}"
            )
        if not np.isfinite(states).all():
            raise InputError(
                f"{self.session.path}: hidden_states: found values that are not finite numbers"
            )
        return states
