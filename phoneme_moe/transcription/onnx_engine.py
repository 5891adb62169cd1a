"""An exported model that listens, through onnxruntime; nothing here imports torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import InputError
from phoneme_moe.transcription.model_spec import Floats, ModelOutput, ModelSpec

FORMAT, VERSION = "phoneme_moe.onnx", 1


class OnnxEngine:
    """An ONNX file of ``transcription.export`` (``transcription.model_spec.Engine``)."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Opens the file.

        Args:
            path: What ``phoneme-moe export`` wrote.
            threads: All cores when left out.

        Raises:
            InputError: onnxruntime is not installed, or the file is no such model.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(
                f"{path}: needs the extra onnx: pip install 'phoneme-moe[onnx]'"
            ) from error
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Threads that wait by spinning would take the cores on which files are read.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            metadata = self.session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime has exceptions of its own for every problem
            problem = str(error).splitlines()[0]
            raise InputError(f"{path}: not an ONNX model that can be run: {problem}") from error
        if metadata.get("format") != FORMAT:
            raise InputError(f"{path}: not exported by phoneme-moe: its metadata have no format")
        try:
            data = json.loads(metadata["card"])
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: card: its metadata are not JSON") from error
        self.spec = read_card(data, str(path))
        self._check(path)

    def _check(self, path: Path) -> None:
        """The network has the sizes that its metadata say."""
        inputs = {node.name: node.shape for node in self.session.get_inputs()}
        outputs = {node.name: node.shape for node in self.session.get_outputs()}
        wanted = {"features", "num_frames"}
        if self.spec.embedding_size is not None:
            wanted.add("embedding")
        # A model of tokens, all of one length, may have no use for it.
        wanted -= {"num_frames"} - set(inputs)
        if set(inputs) != wanted or not {"log_posteriors", "weights"} <= set(outputs):
            raise InputError(
                f"{path}: found inputs {', '.join(sorted(inputs))} and outputs "
                f"{', '.join(sorted(outputs))}; expected inputs {', '.join(sorted(wanted))} and "
                "outputs log_posteriors, weights"
            )
        for name, found, expected in (
            ("features", inputs["features"][-1], self.spec.features["n_mels"]),
            ("log_posteriors", outputs["log_posteriors"][-1], self.spec.phonemes.num_outputs),
            ("weights", outputs["weights"][-1], len(self.spec.experts)),
        ):
            if isinstance(found, int) and found != expected:
                raise InputError(f"{path}: {name}: found {found} columns, its card says {expected}")
        self._inputs = set(inputs)
        self._outputs = [n for n in ("log_posteriors", "weights", "timing") if n in outputs]

    def infer(
        self,
        features: Floats,
        num_frames: NDArray[np.int64],
        embedding: Floats | None = None,
        timed: bool = True,
    ) -> ModelOutput:
        """As ``transcription.model_spec.Engine`` says."""
        given = {"features": features, "num_frames": np.asarray(num_frames, np.int64)}
        if embedding is not None:
            given["embedding"] = embedding
        given = {name: value for name, value in given.items() if name in self._inputs}
        try:
            wanted = self._outputs if timed else self._outputs[:2]
            log_posteriors, weights, *timing = self.session.run(wanted, given)
        except Exception as error:  # of a file that was changed: onnxruntime has many kinds
            problem = str(error).splitlines()[0]
            raise InputError(f"{self.spec.source}: the model cannot be run: {problem}") from error
        return ModelOutput(log_posteriors, weights, timing[0] if timing else None)

    def leave_cores(self, number: int) -> AbstractContextManager[None]:
        """A session keeps the threads that it began with; they do not spin."""
        return nullcontext()


_KEYS: dict[str, Callable[[Any], bool]] = {
    "recipe": lambda v: isinstance(v, str),
    "corpus": lambda v: isinstance(v, str),
    "phonemes": lambda v: _names(v),
    "experts": lambda v: _names(v),
    "stack": lambda v: _count(v) and 1 <= v <= 8,
    "tokens": lambda v: isinstance(v, bool),
    "token_ms": lambda v: _number(v) and 0 < v < 1e4,
    "onset_ms": lambda v: _number(v) and 0 <= v < 1e4,
    "context": lambda v: v is None or (_count(v) and 0 <= v < 10_000),
    "embedding_size": lambda v: v is None or (_count(v) and v > 0),
}
_FEATURES: dict[str, Callable[[Any], bool]] = {
    "sample_rate": lambda v: _count(v) and 4000 <= v <= 96_000,
    "n_mels": lambda v: _count(v) and 2 <= v <= 256,
    "window_ms": lambda v: _number(v) and 1 < v <= 200,
    "window": lambda v: v in ("hann", "hamming"),
    "hop_ms": lambda v: _number(v) and 0.5 < v <= 100,
    "normalization": lambda v: v in ("range", "utterance"),
}


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
    )


def read_card(data: Any, where: str) -> ModelSpec:
    """A spec from plain data, of a file that may have been tampered with.

    Raises:
        InputError: Names the key that does not hold.
    """
    if not isinstance(data, dict) or data.get("version") != VERSION:
        found = data.get("version") if isinstance(data, dict) else data
        raise InputError(f"{where}: card: version: found {found!r}, expected {VERSION}")
    for key, holds in _KEYS.items():
        if key not in data or not holds(data[key]):
            raise InputError(f"{where}: card: {key}: found {data.get(key)!r}")
    features = data.get("features")
    if not isinstance(features, dict) or set(features) != set(_FEATURES):
        raise InputError(f"{where}: card: features: expected {', '.join(_FEATURES)}")
    for key, holds in _FEATURES.items():
        if not holds(features[key]):
            raise InputError(f"{where}: card: features.{key}: found {features[key]!r}")
    return ModelSpec(
        source=where,
        recipe=data["recipe"],
        corpus=data["corpus"],
        phonemes=PhonemeSet(tuple(data["phonemes"]), has_blank=not data["tokens"]),
        experts=tuple(data["experts"]),
        features=features,
        stack=data["stack"],
        tokens=data["tokens"],
        token_ms=data["token_ms"],
        onset_ms=data["onset_ms"],
        context=data["context"],
        embedding_size=data["embedding_size"],
        decoding=Decoding.from_json(data.get("decoding"), f"{where}: card: decoding"),
    )
