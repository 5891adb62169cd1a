"""JSON of the server's answers that are not transcripts or alignments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from phoneme_moe.files.documents import Document
from phoneme_moe.transcription.writers.documents import TranscriptDocument

Share = Annotated[float, Field(ge=0, le=1)]


class ErrorDocument(Document):
    """Why a request was refused."""

    error: str
    """One line: the file or key, what was found and what was expected."""


class LayerDocument(Document):
    """A gate, or a sparse layer."""

    name: str
    """Empty for a gate."""
    experts: list[str]


class ServedRunDocument(Document):
    """A run of the server."""

    name: str
    recipe: str
    description: str
    corpus: str
    corpus_is_prepared: bool
    """Whether its utterances and speakers are at hand."""
    task: Literal["recognize", "classify"]
    sample_rate: int
    phonemes: list[str]
    layers: list[LayerDocument]
    speakers: list[str]
    """Speakers of the corpus, if it is prepared."""
    live_problem: str | None
    """Why it cannot recognise live speech; null if it can."""
    adapts: bool
    """Whether it has a gate that ``adapt`` trains."""
    has_report: bool
    scores_pronunciation: bool
    """Whether its goodness of pronunciation is calibrated as a score."""
    has_best: bool
    """Whether it has a slow search with fewer errors."""


class ServerDocument(Document):
    """GET /v1/runs."""

    version: str
    runs: list[ServedRunDocument]
    """The first is the default."""
    formats: dict[str, str]
    """Output formats and their file suffixes."""
    expert_colours: list[str]
    """Colours of experts, in order."""
    has_lexicon: bool
    keeps: bool
    """Whether recordings can be kept."""
    max_seconds: float
    max_upload_bytes: int


class ExampleDocument(Document):
    """An utterance of a run's corpus."""

    id: str
    speaker: str
    text: str
    phonemes: str
    """Reference, separated by spaces; empty if the run does not know one of them."""
    seconds: float


class ExamplesDocument(Document):
    """GET /v1/examples."""

    split: str
    examples: list[ExampleDocument]


class ChangeDocument(Document):
    """A difference between two sequences of phonemes."""

    kind: Literal["same", "substituted", "inserted", "deleted"]
    before: str
    """Empty for an insertion."""
    after: str
    """Empty for a deletion."""
    segment: int | None
    """Index of the segment of ``after``; null for a deletion."""


class ComparisonDocument(Document):
    """A transcript beside another of the same recording."""

    changes: list[ChangeDocument]
    log_probability: float | None
    """Natural logarithm of the probability of the other transcript's phonemes; null if this
    routing makes them impossible."""


class ReferenceDocument(Document):
    """A transcript beside the phonemes that were spoken."""

    phonemes: list[str]
    errors: int
    error_rate: float
    changes: list[ChangeDocument]


class InspectionDocument(Document):
    """POST /v1/inspect: a transcript and what led to it."""

    transcript: TranscriptDocument
    layer: str
    """Sparse layer of the weights; empty for a gate."""
    experts: list[str]
    frame_seconds: float
    weights: list[list[float]]
    """Weight of each expert in each frame, frames x experts; empty with a single expert."""
    routing: dict[str, Share]
    """Mean weight of each expert, by name."""
    log_probability: float | None
    """Natural logarithm of the probability of the phonemes, summed over all alignments; null for
    single tokens and silence."""
    comparison: ComparisonDocument | None
    reference: ReferenceDocument | None
    seconds: float
    """Time that recognition took."""


class NearSpeakerDocument(Document):
    """A known speaker beside a voice."""

    speaker: str
    distance: Share
    """Jensen-Shannon distance of mean weights, base 2: 0 for the same, 1 for no common expert."""
    weights: list[float]


class SpeakersDocument(Document):
    """POST /v1/speakers: where a voice lies among the known speakers."""

    experts: list[str]
    weights: list[float]
    """Those of the voice."""
    nearest: list[NearSpeakerDocument]
    """All known speakers, the nearest first."""
    sentence: str


class AdaptationResult(Document):
    """The result of an adaptation on held-out utterances."""

    run: str
    speaker: str
    learned: int
    held_out: int
    before: float
    after: float
    interval: list[float]
    old_before: float | None
    old_after: float | None
    folder: str | None
    """Where the new run is kept; null if it ends with the server."""


class JobDocument(Document):
    """Long work of the server."""

    id: str
    kind: Literal["adapt", "report"]
    state: Literal["waiting", "running", "done", "failed"]
    stage: str
    error: str | None
    result: AdaptationResult | None


class KeptDocument(Document):
    """A recording that was kept."""

    id: str
    """Names it in links and in GET /v1/recordings/ID."""


class SavedDocument(Document):
    """Corrected utterances that were saved."""

    folder: str
    utterances: int


def error(message: str) -> dict[str, Any]:
    """The content of an ``ErrorDocument``."""
    return ErrorDocument(error=message).model_dump()
