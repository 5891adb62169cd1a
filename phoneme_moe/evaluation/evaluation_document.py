"""The content of evaluation.json."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from phoneme_moe.decoding.scoring import Score
from phoneme_moe.files.documents import Document


class Scores(Document):
    """Errors over utterances; a document has either per or accuracy."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["per"]}, {"required": ["accuracy"]}]}
    )

    per: Annotated[float, Field(ge=0)] | SkipJsonSchema[None] = Field(
        default=None, description="Phoneme error rate: errors over reference phonemes."
    )
    accuracy: Annotated[float, Field(le=1)] | SkipJsonSchema[None] = Field(
        default=None, description="Accuracy of a token classifier: 1 - errors / tokens."
    )
    interval: tuple[float, float] = Field(description="95 % interval of the rate.")
    errors: int = Field(ge=0)
    substitutions: int = Field(ge=0)
    insertions: int = Field(ge=0)
    deletions: int = Field(ge=0)
    phonemes: int = Field(
        ge=0, description="Number of reference phonemes; for a classifier, of tokens."
    )
    utterances: int = Field(ge=1)

    @classmethod
    def of(cls, score: Score, measure: str) -> Scores:
        """Converts a score to its document.

        Args:
            score: The score.
            measure: ``per`` or ``accuracy``.
        """
        low, high = score.interval
        accuracy = measure == "accuracy"
        rate = 1 - score.error_rate if accuracy else score.error_rate
        return cls(
            **{measure: rate},
            interval=(1 - high, 1 - low) if accuracy else (low, high),
            errors=score.substitutions + score.insertions + score.deletions,
            substitutions=score.substitutions,
            insertions=score.insertions,
            deletions=score.deletions,
            phonemes=score.num_reference,
            utterances=score.num_utterances,
        )


class SpeakerScores(Scores):
    """Errors of one speaker."""

    unseen: bool = Field(description="Whether the speaker was absent from training.")


class Confusion(Document):
    """A substitution."""

    reference: str
    hypothesis: str
    count: int = Field(ge=1)


class _EvaluationHeader(Document):
    version: Literal[1]
    recipe: str
    corpus: str
    split: str = Field(json_schema_extra={"enum": ["train", "dev", "test"]})
    task: Literal["classify", "recognize"]
    fold: str = Field(description="Phoneme mapping before scoring, and the number of phonemes.")
    beam: int | None = Field(
        default=None,
        ge=1,
        description="Width of the beam search with the run's n-gram; null for greedy decoding.",
    )


class EvaluationDocument(Scores, _EvaluationHeader):
    """Errors of a run on a split.

    Rates are fractions: per = errors / phonemes, accuracy = 1 - errors / tokens. Intervals are
    95 %, bootstrap over utterances.
    """

    model_config = ConfigDict(title="evaluation.json, version 1")

    confusions: list[Confusion] = Field(
        description="The most frequent substitutions, in descending order."
    )
    by_speaker: dict[str, SpeakerScores]
    by_corpus: dict[str, Scores] | SkipJsonSchema[None] = Field(
        default=None, description="Errors on each corpus, if there are several."
    )
    any_pronunciation: dict[str, float] | SkipJsonSchema[None] = Field(
        default=None,
        description=(
            "Phoneme error rate if every pronunciation of a word in the lexicon is right, the "
            "closest one being the reference: of all utterances, and of each of several corpora. "
            "All other rates are against the first pronunciations."
        ),
    )
