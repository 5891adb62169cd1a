"""What a model card says of the speech behind a model: ``speech.json`` of an exported run.

It is stored with the model, since who uses the model need not have its corpora.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ConfigDict, Field

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.registry import CORPORA
from phoneme_moe.data.examples import corpus_speakers
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.evaluation.errors import EvaluationDocument, SpeakerScores
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
    names = corpus.name.split("+")
    speakers = {
        "train": set(corpus_speakers(run.recipe, corpus)),
        "test": set(split_speakers(run.recipe, corpus)),
    }
    amounts = {name: {split: _Amount() for split in speakers} for name in names}
    for split, used in speakers.items():
        for cut in corpus.cuts(split):
            speaker = cut.supervisions[0].speaker
            if speaker in used:
                amount = amounts[_corpus_of(speaker, names)][split]
                amount.speakers.add(speaker)
                amount.utterances += 1
                amount.seconds += cut.duration
    evaluation = EvaluationDocument.read_if_present(run.folder / EVALUATION)
    by_speaker = {} if evaluation is None else evaluation.by_speaker
    errors, phonemes = Counter[str](), Counter[str]()
    for speaker, scores in by_speaker.items():
        name = _corpus_of(speaker, names)
        errors[name] += scores.errors
        phonemes[name] += scores.phonemes
    return StoredCard(
        version=1,
        corpora=[
            CorpusCard(
                name=name,
                licence=licence_of(name),
                train=amounts[name]["train"].to_document(),
                test=amounts[name]["test"].to_document(),
                errors=errors.get(name),
                phonemes=phonemes.get(name),
            )
            for name in names
        ],
        limits=[*_limits(evaluation), *notes],
    )


def licence_of(corpus: str) -> str:
    """Licence and attribution of a corpus, or of each of several joined ones."""
    licences = {
        name: CORPORA[name].licence if name in CORPORA else "yours" for name in corpus.split("+")
    }
    if len(licences) == 1:
        return licences[corpus]
    return "; ".join(f"{name}: {licence}" for name, licence in licences.items())


def _corpus_of(speaker: str, names: Sequence[str]) -> str:
    """The corpus of a speaker, whose name begins with it if there are several."""
    prefix = speaker.partition("/")[0]
    return prefix if len(names) > 1 and prefix in names else names[0]


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
