"""Export of a run as an ONNX file, which needs neither torch nor the run folder.

The file holds the network, and the model specification in its ``metadata_props``
(docs/schemas/onnx.schema.json). ``onnx_engine`` runs it.

Inputs: ``features`` (batch, feature frames, features) as from ``features.log_mel_numpy``, zero
beyond each utterance's end; ``num_frames`` (batch,); ``embedding`` (batch, size) if the routers
take one. Outputs: ``log_posteriors`` (batch, frames, outputs); ``weights`` (batch, frames,
experts); ``timing`` (batch, feature frames, outputs) with a timing net.

The features of a pretrained encoder come from a second file beside it, ``model.encoder.onnx`` for
``model.onnx``: input ``samples`` (samples,) at 16 kHz, a multiple of 320 and at most 30 s; output
``hidden_states`` (frames of 20 ms, features). ``onnx_encoder`` runs it.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from phoneme_moe.errors import InputError
from phoneme_moe.features.pretrained import PretrainedFrontEnd
from phoneme_moe.files.atomic import atomic_path
from phoneme_moe.files.hashes import hash_file
from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.routers import ExpertChoice
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.model_spec import ModelSpec
from phoneme_moe.transcription.network_to_onnx import finish_onnx, import_onnx, write_onnx
from phoneme_moe.transcription.onnx_encoder import encoder_path
from phoneme_moe.transcription.onnx_metadata import (
    ENCODER_FORMAT,
    FORMAT,
    OnnxHiddenStates,
    OnnxSpec,
)
from phoneme_moe.transcription.run_engine import spec_of

ENCODERS = ("whisper", "wav2vec2", "hubert", "wavlm")
"""Families of pretrained encoders that can be exported: the others compute features outside of
their network."""


class _Network(nn.Module):
    """The exported network."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.layer, _ = recognizer.routed_layer()

    def forward(
        self, features: Tensor, num_frames: Tensor, embedding: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Computes the file's outputs from its inputs."""
        mask = torch.arange(features.shape[1], device=features.device) < num_frames[:, None]
        recognition = self.recognizer(features, mask, embedding=embedding)
        weights = recognition.routing_of(self.layer).weights.float()
        outputs = recognition.log_posteriors.float(), weights
        timing = self.recognizer.timing
        return outputs if timing is None else (*outputs, timing(features, mask))


class _Encoder(nn.Module):
    """The exported encoder."""

    def __init__(self, front_end: PretrainedFrontEnd) -> None:
        super().__init__()
        self.front_end = front_end
        self.encoder = front_end.encode_window.encoder

    def forward(self, samples: Tensor) -> Tensor:
        """Computes the file's output from its input."""
        return self.front_end.encode_frames(samples)


def export_onnx(run: LoadedRun, path: Path, int8: bool = False) -> list[Path]:
    """Writes a run as an ONNX file, and its pretrained encoder, if any, as a second one.

    Args:
        run: The run.
        path: The file to write.
        int8: Whether to quantise the weights of matrix products to 8 bits (dynamic quantisation),
            which makes the file a quarter of the size.

    Returns:
        The files: that of the model, and that of its encoder.

    Raises:
        InputError: The extra ``onnx`` is not installed, the gate takes the speaker's identity, or
            ONNX cannot express a part of the model.
    """
    import_onnx()
    recognizer = run.recognizer
    if recognizer.gate_is_speaker:
        raise InputError(
            f"{run.name}: model.gate is of kind speaker, and the speaker of a recording is not "
            "known; expected a run with another kind of gate"
        )
    _check_layers(run)
    spec, front_end, encoder = spec_of(run), recognizer.front_end, None
    paths = [path]
    # Both files appear when both are complete.
    with ExitStack() as files:
        temporary = files.enter_context(atomic_path(path))
        if isinstance(front_end, PretrainedFrontEnd):
            paths.append(encoder_path(path))
            encoder_file = files.enter_context(atomic_path(paths[-1]))
            _write_encoder(run, front_end, encoder_file, int8)
            encoder = OnnxHiddenStates(
                kind="pretrained",
                num_features=front_end.num_features,
                sha256=hash_file(encoder_file),
            )
        _write_model(run, spec, temporary)
        card = OnnxSpec.of(spec, encoder).model_dump_json()
        finish_onnx(temporary, int8, {"format": FORMAT, "card": card})
    return paths


def _write_model(run: LoadedRun, spec: ModelSpec, path: Path) -> None:
    """Writes the network after the features."""
    recognizer = run.recognizer.cpu()
    inputs = _example_inputs(spec, recognizer.front_end.num_features)
    names = ["log_posteriors", "weights", *([] if recognizer.timing is None else ["timing"])]
    outputs = {name: {0: "batch", 1: f"{name}_frames"} for name in names}
    axes = {name: {0: "batch"} for name in inputs}
    axes["features"] = {0: "batch", 1: "feature_frames"}
    if spec.tokens:  # all tokens have the same length
        outputs = {name: {0: "batch"} for name in outputs}
        axes["features"] = {0: "batch"}
    write_onnx(_Network(recognizer), inputs, outputs, axes, path, str(run.name))


def _write_encoder(run: LoadedRun, front_end: PretrainedFrontEnd, path: Path, int8: bool) -> None:
    """Writes the network that computes the features.

    Raises:
        InputError: The encoder is missing, or of a family that cannot be exported.
    """
    if run.recognizer.adapted is not None:
        raise InputError(
            f"{run.name}: model.adapters: found an encoder whose weights the gate chooses, which "
            "ONNX cannot express; expected a frozen encoder"
        )
    kind = front_end.encode_window.kind
    if kind not in ENCODERS:
        raise InputError(
            f"{run.name}: features.model: found a {kind} encoder, whose features ONNX cannot "
            f"express; expected one of {', '.join(ENCODERS)}"
        )
    # Of another length than all constants, and not of whole seconds.
    samples = 0.1 * torch.randn(103 * front_end.hop, generator=torch.Generator().manual_seed(0))
    write_onnx(
        _Encoder(front_end),
        {"samples": samples},
        {"hidden_states": {0: "frames"}},
        {"samples": {0: "samples"}},
        path,
        f"{run.name}: features.model",
    )
    finish_onnx(path, int8, {"format": ENCODER_FORMAT})


def _check_layers(run: LoadedRun) -> None:
    encoder = run.recognizer.encoder
    for layer in encoder.sparse_layers if encoder is not None else []:
        if isinstance(layer, SparseFeedForward) and isinstance(layer.router, ExpertChoice):
            raise InputError(
                f"{run.name}: model.encoder.sparse.router.selection: found expert_choice, which "
                "ONNX cannot express; expected top_k or balanced"
            )


def _example_inputs(spec: ModelSpec, num_features: int) -> dict[str, Tensor]:
    """Inputs to trace the model with: two utterances of unequal length."""
    frames = 203
    if spec.tokens:
        frames = int(spec.token_ms / 1000 / spec.feature_seconds + 1e-6)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, frames, num_features, generator=generator)
    lengths = torch.tensor([frames, frames if spec.tokens else 150])
    features[1, lengths[1] :] = 0
    inputs = {"features": features, "num_frames": lengths}
    if spec.embedding_size is not None:
        inputs["embedding"] = torch.randn(2, spec.embedding_size, generator=generator)
    return inputs
