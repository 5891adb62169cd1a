"""Inference with an exported model, through onnxruntime; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field

from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.document import DecodingDocument
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import Document, shorten, shorten_name
from phoneme_moe.files.writing import path_text
from phoneme_moe.system.cores import usable_cores
from phoneme_moe.transcription.model_spec import Floats, ModelOutput, ModelSpec, check_output
from phoneme_moe.transcription.onnx_file import check_onnx_file

FORMAT = "phoneme_moe.onnx"

MAX_BYTES, MAX_BYTES_PER_BYTE = 700_000_000, 32
"""Most memory of a session: a constant, and for each byte of the file."""


class OnnxFeatures(Document):
    """Arguments of ``FrontEnd``, as in the recipe's section."""

    sample_rate: int = Field(
        ge=4000, le=96_000, description="Sample rate in Hz to which audio is resampled."
    )
    n_mels: int = Field(ge=2, le=256, description="Columns of the input features.")
    window_ms: float = Field(gt=1, le=200)
    window: Literal["hann", "hamming"]
    hop_ms: float = Field(gt=0.5, le=100)
    normalization: Literal["range", "utterance"]


def _check_unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("names must be unique")
    return names


Names = Annotated[
    list[str],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_check_unique),
]


class OnnxSpec(Document):
    """Everything about the model except its network."""

    # Unknown keys are ignored: a file of a later release that adds one can still be read.
    model_config = ConfigDict(extra="ignore")
    max_bytes: ClassVar[int] = 2 * DecodingDocument.max_bytes

    version: Literal[1]
    recipe: str
    corpus: str = Field(description="Name of the training corpus.")
    phonemes: Names = Field(
        description="Columns of log_posteriors; before them the CTC blank, unless tokens is true."
    )
    experts: Names = Field(description="Columns of weights.")
    features: OnnxFeatures
    stack: int = Field(ge=1, le=8, description="Feature frames per frame of log_posteriors.")
    tokens: bool = Field(description="Whether the model classifies excised tokens of one phoneme.")
    token_ms: float = Field(gt=0, lt=10_000, description="Length of a token, in milliseconds.")
    onset_ms: float = Field(
        ge=0, lt=10_000, description="Onset of the phoneme within a token, in milliseconds."
    )
    context: int | None = Field(
        ge=0,
        lt=10_000,
        description="Receptive field on either side, in frames of log_posteriors; null if a part "
        "of the model sees the whole utterance.",
    )
    embedding_size: int | None = Field(
        gt=0, description="Columns of the input embedding; null if there is none."
    )
    decoding: DecodingDocument

    @classmethod
    def of(cls, spec: ModelSpec) -> OnnxSpec:
        """Converts a specification to its document."""
        return cls(
            version=1,
            recipe=spec.recipe,
            corpus=spec.corpus,
            phonemes=list(spec.phonemes.symbols),
            experts=list(spec.experts),
            features=OnnxFeatures(**spec.features),
            stack=spec.stack,
            tokens=spec.tokens,
            token_ms=spec.token_ms,
            onset_ms=spec.onset_ms,
            context=spec.context,
            embedding_size=spec.embedding_size,
            decoding=spec.decoding.to_document(),
        )

    def model_spec(self, source: str) -> ModelSpec:
        """Converts the document to a specification.

        Raises:
            InputError: The phoneme n-gram is not valid.
        """
        return ModelSpec(
            source=source,
            recipe=self.recipe,
            corpus=self.corpus,
            phonemes=PhonemeSet(tuple(self.phonemes), has_blank=not self.tokens),
            experts=tuple(self.experts),
            features=self.features.model_dump(),
            stack=self.stack,
            tokens=self.tokens,
            token_ms=self.token_ms,
            onset_ms=self.onset_ms,
            context=self.context,
            embedding_size=self.embedding_size,
            decoding=Decoding.from_document(self.decoding, f"{source}: card: decoding"),
        )


class OnnxMetadata(Document):
    """Both entries of metadata_props are strings; card is JSON, described here as parsed."""

    model_config = ConfigDict(title="metadata_props of an exported ONNX file, version 1")

    format: Literal["phoneme_moe.onnx"]
    card: OnnxSpec


class OnnxEngine:
    """The model of an ONNX file (``transcription.model_spec.Engine``)."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Opens the file.

        Args:
            path: Written by ``transcription.export``.
            threads: Number of threads; by default one per usable core.

        Raises:
            InputError: onnxruntime is not installed, or the file is not an exported model.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(
                f"{path}: needs the extra onnx: pip install 'phoneme-moe[onnx]'"
            ) from error
        check_onnx_file(path)
        onnxruntime.disable_telemetry_events()  # imported before this package, it may be on
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised as well
        _limit_memory(onnxruntime, path.stat().st_size)
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Threads that spin while waiting would occupy the cores that read files.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Left alone, it takes the cores of the machine, and complains about those not granted.
        options.intra_op_num_threads = threads or usable_cores().number
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            metadata = self.session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime raises many kinds
            problem = _first_line(error)
            raise InputError(f"{path}: not a valid ONNX model: {problem}") from error
        if metadata.get("format") != FORMAT:
            raise InputError(f"{path}: not exported by phoneme-moe: no format in its metadata")
        document = OnnxSpec.parse_json(metadata.get("card", ""), f"{path}: card")
        self.spec = document.model_spec(path_text(path))
        ngram = self.spec.decoding.language_model
        if ngram is not None and ngram.symbols != self.spec.phonemes.symbols:
            raise InputError(
                f"{path}: card: decoding.language_model.symbols: found "
                f"{shorten(list(ngram.symbols))}, expected the phonemes of the card"
            )
        self._check(path)

    def _check(self, path: Path) -> None:
        """Compares the network with its metadata."""
        for node in (*self.session.get_inputs(), *self.session.get_outputs()):
            if not node.shape:
                raise InputError(
                    f"{path}: {shorten_name(node.name)}: found a single number, expected axes"
                )
        inputs = {node.name: node.shape for node in self.session.get_inputs()}
        outputs = {node.name: node.shape for node in self.session.get_outputs()}
        expected_inputs = {"features", "num_frames"}
        if self.spec.embedding_size is not None:
            expected_inputs.add("embedding")
        # All tokens have the same length, so their model may not use num_frames.
        expected_inputs -= {"num_frames"} - set(inputs)
        if set(inputs) != expected_inputs or not {"log_posteriors", "weights"} <= set(outputs):
            raise InputError(
                f"{path}: found inputs {_listed(inputs)} and outputs "
                f"{_listed(outputs)}; expected inputs "
                f"{', '.join(sorted(expected_inputs))} and "
                "outputs log_posteriors, weights"
            )
        for name, columns, expected in (
            ("features", inputs["features"][-1], self.spec.features["n_mels"]),
            ("log_posteriors", outputs["log_posteriors"][-1], self.spec.phonemes.num_outputs),
            ("weights", outputs["weights"][-1], len(self.spec.experts)),
        ):
            if isinstance(columns, int) and columns != expected:
                raise InputError(
                    f"{path}: {name}: found {columns} columns, expected {expected} as in card"
                )
        self._inputs = set(inputs)
        self._outputs = [n for n in ("log_posteriors", "weights", "timing") if n in outputs]

    def infer(
        self,
        features: Floats,
        num_frames: NDArray[np.int64],
        embedding: Floats | None = None,
        timed: bool = True,
    ) -> ModelOutput:
        """See ``transcription.model_spec.Engine``."""
        inputs = {"features": features, "num_frames": np.asarray(num_frames, np.int64)}
        if embedding is not None:
            inputs["embedding"] = embedding
        inputs = {name: value for name, value in inputs.items() if name in self._inputs}
        try:
            outputs = self._outputs if timed else self._outputs[:2]
            log_posteriors, weights, *timing = self.session.run(outputs, inputs)
        except Exception as error:  # from a tampered file; onnxruntime raises many kinds
            problem = _first_line(error)
            raise InputError(f"{self.spec.source}: inference failed: {problem}") from error
        output = ModelOutput(log_posteriors, weights, timing[0] if timing else None)
        return check_output(output, self.spec, np.asarray(num_frames), features.shape[1])

    def leave_cores(self, number: int) -> AbstractContextManager[None]:
        """Does nothing: the threads of a session are fixed, but do not spin."""
        return nullcontext()


def _limit_memory(onnxruntime: Any, file_size: int) -> None:
    """Limits the memory of sessions that are opened next.

    Four minutes of sound, which a batch has at most, need up to 350 MB in the shipped recipes.

    Args:
        onnxruntime: The module.
        file_size: Bytes of the model.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    limits = dict.fromkeys(
        ("arena_extend_strategy", "initial_chunk_size_bytes", "max_dead_bytes_per_chunk"), -1
    )
    limits["max_mem"] = MAX_BYTES + MAX_BYTES_PER_BYTE * file_size
    arena = onnxruntime.OrtArenaCfg(limits)
    onnxruntime.create_and_register_allocator(memory, arena)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return "".join(c for c in lines[0][:300] if c.isprintable()) if lines else type(error).__name__


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(shorten_name, sorted(names)))
