"""``decoding.json`` of a run: decoding settings and the counts of the phoneme n-gram."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic.json_schema import SkipJsonSchema

from phoneme_moe.files.documents import Document

MOST_ORDER = 6
MOST_SYMBOLS = 1000  # so that n-grams of the highest order, as numbers, stay below 2^63
MOST_TIMES = 10**9
MAX_SHIFTS = 8
"""Maximum number of feature frames in one frame of posteriors."""
MAX_BEAM = 4096


class NgramDocument(Document):
    """Counts of a phoneme n-gram."""

    version: Literal[1]
    order: Annotated[int, Field(ge=1, le=MOST_ORDER)]
    """Number of phonemes in the longest n-gram."""
    symbols: Annotated[list[str], Field(min_length=1, max_length=MOST_SYMBOLS)]
    """The phonemes, each once."""
    counts: dict[str, dict[str, Annotated[int, Field(ge=1, le=MOST_TIMES)]]]
    """Counts of the phonemes that follow each context. Contexts are phonemes separated by spaces,
    with ``<s>`` for the start of the utterance; ``</s>`` is its end."""
    text: TextDocument | SkipJsonSchema[None] = None
    """Another n-gram, of text, with which it is interpolated; absent without one."""

    @model_serializer(mode="wrap")
    def _without_absent_text(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = serialize(self)
        if data.get("text") is None:
            data.pop("text", None)
        return data


class TextDocument(Document):
    """Counts of an n-gram of text, over the same phonemes."""

    weight: Annotated[float, Field(gt=0, lt=1)]
    """Share of its probabilities in the interpolation."""
    order: Annotated[int, Field(ge=1, le=MOST_ORDER)]
    """Number of phonemes in the longest n-gram."""
    counts: dict[str, dict[str, Annotated[int, Field(ge=1, le=MOST_TIMES)]]]
    """As in the n-gram of the training phonemes."""


class BestSearchDocument(Document):
    """The slow search with the fewest errors, which users choose with ``--best``."""

    beam: Annotated[int, Field(ge=1, le=MAX_BEAM)]
    """Beam width."""
    minimum_bayes_risk: bool
    """As in the defaults."""
    num_shifts: Annotated[int, Field(ge=1, le=MAX_SHIFTS)]
    """As in the defaults."""


class GoodnessDocument(Document):
    """The logistic function from goodness of pronunciation to a score."""

    slope: Annotated[float, Field(ge=0, le=1000)]
    """Change of the log odds per unit of goodness."""
    intercept: Annotated[float, Field(ge=-1000, le=1000)]
    """Log odds that the phoneme of the text was spoken, at goodness 0."""


class DecodingDocument(Document):
    """Decoding settings of a run, tuned on dev after training."""

    max_bytes: ClassVar[int] = 16_000_000

    version: Literal[1]
    temperature: Annotated[float, Field(ge=1e-3, le=100)]
    """Divisor of log posteriors for confidence scores."""
    weight: Annotated[float, Field(ge=0, le=100)]
    """Language model weight in beam search."""
    bonus: Annotated[float, Field(ge=-100, le=100)]
    """Insertion bonus of beam search, added to the score for each phoneme."""
    beam: Annotated[int, Field(ge=1, le=MAX_BEAM)] | None = None
    """Default beam width; null for greedy decoding."""
    minimum_bayes_risk: Annotated[
        bool, Field(validation_alias=AliasChoices("minimum_bayes_risk", "least_risk"))
    ] = False
    """Whether beam search returns the hypothesis with the lowest expected number of errors instead
    of the most probable one."""
    num_shifts: Annotated[
        int,
        Field(ge=1, le=MAX_SHIFTS, validation_alias=AliasChoices("num_shifts", "phases")),
    ] = 1
    """Number of passes over the input, each shifted by one more feature frame, whose n-best lists
    are averaged."""
    best: BestSearchDocument | SkipJsonSchema[None] = None
    """Search for ``--best``; absent if it is the default."""
    goodness: GoodnessDocument | SkipJsonSchema[None] = None
    """Calibration of the goodness of pronunciation; absent if there is none."""
    language_model: NgramDocument | None = None
    """N-gram of the run's training phonemes; null for tokens."""

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Earlier versions know neither, and read files and models without them.
        data: dict[str, Any] = serialize(self)
        for key in ("best", "goodness"):
            if data.get(key) is None:
                data.pop(key, None)
        return data
