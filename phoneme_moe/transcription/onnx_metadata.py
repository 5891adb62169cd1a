"""The metadata of exported ONNX files, as documents."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag

from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.document import DecodingDocument
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.features.encoder_windows import HOP, SAMPLE_RATE
from phoneme_moe.files.documents import Document
from phoneme_moe.transcription.model_spec import ModelSpec

FORMAT = "phoneme_moe.onnx"
ENCODER_FORMAT = "phoneme_moe.onnx_encoder"
"""Entry ``format`` of the metadata of a model, and of its pretrained encoder."""


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

    @property
    def num_features(self) -> int:
        """Features of a frame."""
        return self.n_mels

    @property
    def settings(self) -> dict[str, Any]:
        """``ModelSpec.features``."""
        return self.model_dump()


class OnnxHiddenStates(Document):
    """Features that a second ONNX file computes: hidden states of a pretrained encoder.

    Its file lies beside the model's: model.encoder.onnx for model.onnx. It takes ``samples`` at
    16 kHz, shape (frames * 320,), of up to 30 s, and gives ``hidden_states``, shape (frames,
    features). Longer recordings are encoded in windows of 20 s with 5 s of context on either side.
    """

    kind: Literal["pretrained"]
    num_features: int = Field(ge=1, le=10_000_000, description="Columns of the input features.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the encoder's file.")

    @property
    def settings(self) -> dict[str, Any]:
        """``ModelSpec.features``."""
        return {"sample_rate": SAMPLE_RATE, "hop_ms": 1000 * HOP / SAMPLE_RATE}


def _kind(features: Any) -> str:
    if isinstance(features, dict):
        return str(features.get("kind", "log_mel"))
    return str(getattr(features, "kind", "log_mel"))


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
    features: Annotated[
        Annotated[OnnxFeatures, Tag("log_mel")] | Annotated[OnnxHiddenStates, Tag("pretrained")],
        Discriminator(_kind),
    ]
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
    def of(cls, spec: ModelSpec, encoder: OnnxHiddenStates | None = None) -> OnnxSpec:
        """Converts a specification to its document.

        Args:
            spec: The specification.
            encoder: The encoder of a model with pretrained features.
        """
        return cls(
            version=1,
            recipe=spec.recipe,
            corpus=spec.corpus,
            phonemes=list(spec.phonemes.symbols),
            experts=list(spec.experts),
            features=encoder or OnnxFeatures(**spec.features),
            stack=spec.stack,
            tokens=spec.tokens,
            token_ms=spec.token_ms,
            onset_ms=spec.onset_ms,
            context=spec.context,
            embedding_size=spec.embedding_size,
            decoding=spec.decoding.to_document(),
        )

    def model_spec(self, source: str) -> ModelSpec:
        """Converts the document to a specification, still without its encoder.

        Raises:
            InputError: The phoneme n-gram is not valid.
        """
        return ModelSpec(
            source=source,
            recipe=self.recipe,
            corpus=self.corpus,
            phonemes=PhonemeSet(tuple(self.phonemes), has_blank=not self.tokens),
            experts=tuple(self.experts),
            features=self.features.settings,
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
