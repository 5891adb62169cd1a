"""Export of a run as one ONNX file, which needs neither torch nor the run folder.

The file holds the network, and the model specification in its ``metadata_props``
(docs/schemas/onnx.schema.json). ``onnx_engine`` runs it.

Inputs: ``features`` (batch, feature frames, mel bands) as from ``features.log_mel_numpy``, zero
beyond each utterance's end; ``num_frames`` (batch,); ``embedding`` (batch, size) if the routers
take one. Outputs: ``log_posteriors`` (batch, frames, outputs); ``weights`` (batch, frames,
experts); ``timing`` (batch, feature frames, outputs) with a timing net.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from phoneme_moe.errors import InputError
from phoneme_moe.files.atomic import atomic_path
from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.routers import ExpertChoice
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.model_spec import ModelSpec
from phoneme_moe.transcription.onnx_engine import FORMAT, OnnxSpec
from phoneme_moe.transcription.run_engine import spec_of

OPSET = 18


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


def export_onnx(run: LoadedRun, path: Path, int8: bool = False) -> None:
    """Writes a run as an ONNX file, atomically.

    Args:
        run: The run.
        path: The file to write.
        int8: Whether to quantise the weights of matrix products to 8 bits (dynamic quantisation),
            which makes the file a quarter of the size.

    Raises:
        InputError: The extra ``onnx`` is not installed, the gate takes the speaker's identity, or
            ONNX cannot express a part of the model.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError("export needs the extra onnx: pip install 'phoneme-moe[onnx]'") from error
    recognizer = run.recognizer
    if recognizer.gate_is_speaker:
        raise InputError(
            f"{run.name}: model.gate is of kind speaker, and the speaker of a recording is not "
            "known; expected a run with another kind of gate"
        )
    _check_layers(run)
    spec = spec_of(run)
    if spec.encode is not None:
        raise InputError(
            f"{run.folder}: features.kind: found pretrained; export takes models with log mel "
            "features"
        )
    module = _Network(recognizer.cpu()).eval()
    features, lengths, embedding = _example_inputs(spec)
    inputs = ["features", "num_frames", *([] if embedding is None else ["embedding"])]
    outputs = ["log_posteriors", "weights", *([] if recognizer.timing is None else ["timing"])]
    dynamic = {name: {0: "batch", 1: f"{name}_frames"} for name in outputs}
    dynamic |= {"features": {0: "batch", 1: "feature_frames"}, "num_frames": {0: "batch"}}
    if embedding is not None:
        dynamic["embedding"] = {0: "batch"}
    if spec.tokens:  # all tokens have the same length
        dynamic = {name: {0: "batch"} for name in (*inputs, *outputs)}
    arguments = (features, lengths) if embedding is None else (features, lengths, embedding)
    with atomic_path(path) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                torch.onnx.export(
                    module,
                    arguments,
                    str(temporary),
                    input_names=inputs,
                    output_names=outputs,
                    dynamic_axes=dynamic,
                    opset_version=OPSET,
                    dynamo=False,
                )
            except (torch.onnx.OnnxExporterError, torch.onnx.errors.SymbolicValueError) as error:
                problem = str(error).splitlines()[0]
                raise InputError(f"{run.name}: ONNX cannot express the model: {problem}") from error
        if int8:
            _quantize(temporary)
        model = onnx.load(temporary)
        for key, value in (("format", FORMAT), ("card", OnnxSpec.of(spec).model_dump_json())):
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
        onnx.save(model, temporary)


def _check_layers(run: LoadedRun) -> None:
    encoder = run.recognizer.encoder
    for layer in encoder.sparse_layers if encoder is not None else []:
        if isinstance(layer, SparseFeedForward) and isinstance(layer.router, ExpertChoice):
            raise InputError(
                f"{run.name}: model.encoder.sparse.router.selection: found expert_choice, which "
                "ONNX cannot express; expected top_k or balanced"
            )


def _example_inputs(spec: ModelSpec) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs to trace the model with: two utterances of unequal length."""
    frames = 203
    if spec.tokens:
        frames = int(spec.token_ms / 1000 / spec.feature_seconds + 1e-6)
    generator = torch.Generator().manual_seed(0)
    n_mels = spec.features["n_mels"]
    features = torch.randn(2, frames, n_mels, generator=generator)
    lengths = torch.tensor([frames, frames if spec.tokens else 150])
    features[1, lengths[1] :] = 0
    size = spec.embedding_size
    embedding = None if size is None else torch.randn(2, size, generator=generator)
    return features, lengths, embedding


def _quantize(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()  # onnxruntime recommends preprocessing, which is not needed
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        # In a folder of its own, since onnxruntime writes another file beside the model, which it
        # leaves there when it is interrupted.
        with tempfile.TemporaryDirectory(prefix="phoneme-moe-") as folder:
            model = Path(folder, "model.onnx")
            shutil.copyfile(path, model)
            quantize_dynamic(
                model, model, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"]
            )
            shutil.copyfile(model, path)
    finally:
        root.setLevel(level)
