"""Transcripts and alignments as JSON documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from phoneme_moe.files.documents import Document
from phoneme_moe.files.writing import json_text, path_text
from phoneme_moe.transcription.transcript import Transcript, whole_millisecond_edges

if TYPE_CHECKING:
    from phoneme_moe.transcription.align import Alignment  # imports torch

MIN_WEIGHT = 0.001
"""Segments omit experts with a smaller weight."""

Symbol = Annotated[str, Field(min_length=1)]
Seconds = Annotated[
    float,
    Field(ge=0, description="Seconds from the start of the file, rounded to the millisecond."),
]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]


class SegmentDocument(Document):
    """A phoneme with its times."""

    phoneme: Symbol
    start: Seconds
    end: Seconds
    confidence: Share = Field(description="Probability that the phoneme is correct.")
    experts: dict[str, Share] = Field(
        description="Mean weight of each expert over the segment, by name, omitting those below "
        f"{MIN_WEIGHT}."
    )


class AlternativeDocument(Document):
    """A hypothesis of the n-best list."""

    phonemes: list[Symbol]
    score: float = Field(
        description="Natural logarithm of its probability, from the model and the weighted n-gram."
    )


class TranscriptDocument(Document):
    """phoneme-moe transcribe --format json or jsonl.

    One object per line on standard output, one per file with --out.
    """

    model_config = ConfigDict(title="A transcript as JSON, version 2")

    max_bytes: ClassVar[int] = 200_000_000
    """A day of speech has a million phonemes."""

    version: Literal[2]
    file: str = Field(
        description="Path as given by the user; - for standard input. A byte that is not UTF-8 is "
        "written as \\xe9; backslashes are then doubled."
    )
    run: str = Field(description="The run folder or the ONNX file of the model.")
    recipe: str
    fold: str | None = Field(
        description="Phoneme set that the symbols were mapped onto; null for the run's own."
    )
    symbols: str | None = Field(
        description="Notation of the phonemes: arpabet, ipa, xsampa, or the file of a table that "
        "the user gave; null for that of the run's corpus."
    )
    duration: float = Field(gt=0, description="Seconds.")
    phonemes: list[Symbol] = Field(description="Phonemes of the segments.")
    segments: Sequence[SegmentDocument] = Field(
        description="In order; none overlaps the next, and none is empty."
    )
    silences: list[Annotated[list[Seconds], Field(min_length=2, max_length=2)]] = Field(
        description="Start and end of the stretches without speech."
    )
    routing: dict[str, Share] = Field(
        description="Mean weight of each expert over the file, by name; sums to 1. For an encoder, "
        "the weights of its last sparse layer."
    )
    alternatives: list[AlternativeDocument] = Field(
        description="The n-best list, best first; empty unless more than one was requested."
    )


class AlignedSegmentDocument(SegmentDocument):
    """A phoneme with its times and its goodness of pronunciation."""

    goodness: float = Field(
        description="Natural logarithm of the likelihood ratio between the phoneme and the best "
        "alternative, another phoneme or none, in its place."
    )
    best: str = Field(
        description="The phoneme that fits best in its place, possibly itself; empty for none."
    )
    labelled_start: Seconds | None = Field(
        default=None, description="Its start in the labels that were given; null without times."
    )
    labelled_end: Seconds | None = Field(
        default=None, description="Its end in the labels that were given; null without times."
    )
    score: Percent | None = Field(
        default=None,
        description="Probability in percent that the phoneme was spoken, if half of all phonemes "
        "were wrong; null for models without calibration.",
    )


class WordDocument(Document):
    """A word of the text with its times."""

    word: Symbol
    start: Seconds
    end: Seconds
    score: Percent | None = Field(
        default=None, description="Mean score of its phonemes; null without calibration."
    )


class AlignmentDocument(TranscriptDocument):
    """phoneme-moe align --format json.

    A transcript of the given phonemes, with goodness of pronunciation in every segment, the words
    of the text, and scores.
    """

    model_config = ConfigDict(title="An alignment as JSON, version 2")

    segments: Sequence[AlignedSegmentDocument] = Field(
        description="In order; none overlaps the next, and none is empty."
    )
    words: list[WordDocument] = Field(
        description="Words of the text; empty if phonemes were given."
    )
    score: Percent | None = Field(
        default=None, description="Mean score of all phonemes; null without calibration."
    )


def to_dict(transcript: Transcript) -> dict[str, Any]:
    """Plain data as in ``TranscriptDocument``: seconds to the millisecond, weights to 4 places."""
    return TranscriptDocument(**_transcript_fields(transcript)).model_dump()


def alignment_to_dict(alignment: Alignment) -> dict[str, Any]:
    """Plain data as in ``AlignmentDocument``."""
    fields = _transcript_fields(alignment.transcript)
    fields["segments"] = [
        AlignedSegmentDocument(
            **segment.model_dump(),
            goodness=round(goodness, 4),
            best=best,
            labelled_start=None if times is None else round(times[0], 3),
            labelled_end=None if times is None else round(times[1], 3),
            score=_tenths(score),
        )
        for segment, goodness, best, times, score in zip(
            fields["segments"],
            alignment.goodness,
            alignment.best,
            alignment.labelled or [None] * len(alignment.goodness),
            alignment.scores or [None] * len(alignment.goodness),
            strict=True,
        )
    ]
    words = [
        WordDocument(
            word=word.word,
            start=round(word.start, 3),
            end=round(word.end, 3),
            score=_tenths(word.score),
        )
        for word in alignment.words
    ]
    score = _tenths(alignment.score)
    return AlignmentDocument(**fields, words=words, score=score).model_dump()


def _tenths(score: float | None) -> float | None:
    return None if score is None else round(score, 1)


def _transcript_fields(transcript: Transcript) -> dict[str, Any]:
    edges = whole_millisecond_edges(transcript.segments, transcript.duration)
    silences = [(round(start, 3), round(end, 3)) for start, end in transcript.silences]
    segments = [
        SegmentDocument(
            phoneme=segment.phoneme,
            start=start / 1000,
            end=end / 1000,
            confidence=round(segment.confidence, 4),
            experts={
                name: round(weight, 4)
                for name, weight in segment.experts.items()
                if weight >= MIN_WEIGHT
            },
        )
        for segment, (start, end) in zip(transcript.segments, edges, strict=True)
    ]
    return {
        "version": 2,
        "file": path_text(transcript.path),
        "run": transcript.run,
        "recipe": transcript.recipe,
        "fold": transcript.fold,
        "symbols": transcript.symbols,
        "duration": round(transcript.duration, 3),
        "phonemes": list(transcript.phonemes),
        "segments": segments,
        "silences": [[start, end] for start, end in silences if start < end],
        "routing": {name: round(weight, 4) for name, weight in transcript.routing.items()},
        "alternatives": [
            AlternativeDocument(phonemes=list(other.phonemes), score=round(other.score, 4))
            for other in transcript.alternatives
        ],
    }


def to_json(transcript: Transcript) -> str:
    """The transcript as JSON in one line."""
    return json_text(to_dict(transcript), None) + "\n"


def to_indented_json(transcript: Transcript) -> str:
    """The transcript as indented JSON."""
    return json_text(to_dict(transcript), indent=1) + "\n"


def alignment_to_json(alignment: Alignment) -> str:
    """The alignment as indented JSON."""
    return json_text(alignment_to_dict(alignment), indent=1) + "\n"
