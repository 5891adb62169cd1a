"""What a model card says of the speech behind a model: ``speech.json`` of an exported run.

It is stored with the model, since who uses the model need not have its corpora.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ConfigDict, Field

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.corpora.joined import PLUS, JoinedCorpus
from phoneme_moe.corpora.registry import CORPORA
from phoneme_moe.data.speakers import corpus_speakers, split_speakers
from phoneme_moe.data.utterances import iter_split_cuts
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.evaluation_document import EvaluationDocument, Scores, SpeakerScores
from phoneme_moe.files.documents import Document
from phoneme_moe.run_folder import LoadedRun

CARD, EVALUATION = "speech.json", "evaluation.json"

MOST_WORST = 3
"""Number of confusions, and of speakers with the most errors, in ``StoredCard.limits``."""

MIN_PHONEMES = 100
"""Fewest reference phonemes of a speaker whose error rate is worth naming."""


class Speech(Document):
    """An amount of speech."""

    speakers: int = Field(ge=0)
    utterances: int = Field(ge=0)
    hours: float = Field(ge=0)


class CorpusCard(Document):
    """One corpus of a model."""

    name: str
    licence: str = Field(description="Licence and attribution.")
    train: Speech
    test: Speech
    errors: int | None = Field(ge=0, description="Errors on test; null if not evaluated.")
    phonemes: int | None = Field(ge=0, description="Reference phonemes (or tokens) of test.")

    @property
    def error_rate(self) -> float | None:
        """Errors over reference phonemes on test."""
        if self.errors is None or not self.phonemes:
            return None
        return self.errors / self.phonemes


class StoredCard(Document):
    """speech.json of an exported run: what only its corpora could tell."""

    model_config = ConfigDict(title="speech.json of an exported run")

    version: Literal[1]
    corpora: list[CorpusCard]
    limits: list[str] = Field(description="What the model is bad at, a sentence each.")


@dataclass
class _Amount:
    speakers: set[str] = field(default_factory=set)
    utterances: int = 0
    seconds: float = 0.0

    def to_document(self) -> Speech:
        return Speech(
            speakers=len(self.speakers),
            utterances=self.utterances,
            hours=round(self.seconds / 3600, 3),
        )


def stored_card(run: LoadedRun, corpus: PreparedCorpus, notes: Sequence[str] = ()) -> StoredCard:
    """Collects what the card of a run says of its speech.

    Args:
        run: The run.
        corpus: Its corpus; several joined ones have a name such as ``a+b``, and speakers such as
            ``a/ann``.
        notes: Sentences of the user on what the model is bad at.

    Raises:
        InputError: ``evaluation.json`` is not valid.
    """
    parts = corpus.parts if isinstance(corpus, JoinedCorpus) else (corpus,)
    speakers = {
        "train": corpus_speakers(run.recipe, corpus),
        "test": split_speakers(run.recipe, corpus),
    }
    amounts = {part.name: {split: _Amount() for split in speakers} for part in parts}
    for split, used in speakers.items():
        for cut in iter_split_cuts(run.recipe, corpus, split, used):
            name = corpus.corpus_of(cut.id) if isinstance(corpus, JoinedCorpus) else corpus.name
            amount = amounts[name][split]
            amount.speakers.add(cut.supervisions[0].speaker)
            amount.utterances += 1
            amount.seconds += cut.duration
    evaluation = EvaluationDocument.read_if_present(run.folder / EVALUATION)
    scores = _scores_by_corpus(evaluation, corpus)
    return StoredCard(
        version=1,
        corpora=[
            CorpusCard(
                name=part.name,
                licence=_licence(part),
                train=amounts[part.name]["train"].to_document(),
                test=amounts[part.name]["test"].to_document(),
                errors=None if score is None else score.errors,
                phonemes=None if score is None else score.phonemes,
            )
            for part in parts
            for score in [scores.get(part.name)]
        ],
        limits=[*_limits(evaluation), *notes],
    )


def _scores_by_corpus(
    evaluation: EvaluationDocument | None, corpus: PreparedCorpus
) -> Mapping[str, Scores]:
    """Errors on a corpus, or on each of joined ones, as far as they were evaluated."""
    if evaluation is None:
        return {}
    if isinstance(corpus, JoinedCorpus):
        return evaluation.by_corpus or {}
    return {corpus.name: evaluation}


def licence_of(corpus: str) -> str:
    """Licence and attribution of a corpus, or of each of several joined ones."""
    licences = {name: _licence_of_one(name) for name in corpus.split(PLUS)}
    if len(licences) == 1:
        return licences[corpus]
    return "; ".join(f"{name}: {licence}" for name, licence in licences.items())


def _licence_of_one(name: str) -> str:
    try:
        return _licence(load_corpus(name))
    except InputError:  # who uses a model need not have its corpus
        return CORPORA[name].licence if name in CORPORA else "yours"


def _licence(corpus: PreparedCorpus) -> str:
    """Licence of what a corpus was prepared from, whatever it is called."""
    kind = corpus.description["settings"].get("corpus")
    return CORPORA[kind].licence if kind in CORPORA else "yours"


def _limits(evaluation: EvaluationDocument | None) -> list[str]:
    limits = []
    if evaluation is not None:
        limits += [_worst_speakers(evaluation.by_speaker), _worst_phonemes(evaluation)]
    limits.append(
        "Other speech than that of its corpora was not measured: other languages and accents, "
        "noise, telephones, several people at once, conversation."
    )
    return [limit for limit in limits if limit]


def _worst_speakers(by_speaker: Mapping[str, SpeakerScores]) -> str:
    rates = {
        name: scores.errors / scores.phonemes
        for name, scores in by_speaker.items()
        if scores.phonemes >= MIN_PHONEMES
    }
    if len(rates) < 2:
        return ""
    worst = sorted(rates, key=lambda name: -rates[name])[:MOST_WORST]
    shown = ", ".join(f"{name} {100 * rates[name]:.1f} %" for name in worst)
    return (
        f"Speakers differ: from {100 * min(rates.values()):.1f} to "
        f"{100 * max(rates.values()):.1f} % errors on test (most: {shown})."
    )


def _worst_phonemes(evaluation: EvaluationDocument) -> str:
    if not evaluation.confusions:
        return ""
    shown = ", ".join(
        f"{confusion.hypothesis} for {confusion.reference} ({confusion.count})"
        for confusion in evaluation.confusions[:MOST_WORST]
    )
    kinds = (
        f"{evaluation.substitutions} substitutions, {evaluation.deletions} deletions, "
        f"{evaluation.insertions} insertions"
    )
    return f"Errors on test: {kinds}; most frequent: {shown}."
