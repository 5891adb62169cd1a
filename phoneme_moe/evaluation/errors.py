"""Phoneme errors of a run on a split: overall, by speaker, and confusions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.corpora.joined import PLUS, JoinedCorpus, joined_speaker
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.decoding.closest_reference import closest_reference
from phoneme_moe.decoding.scoring import (
    PairedDifference,
    Score,
    UtteranceScore,
    paired_difference,
    score_utterance,
    total_score,
)
from phoneme_moe.errors import ArgumentError, suggest
from phoneme_moe.evaluation.evaluation_document import (
    Confusion,
    EvaluationDocument,
    Scores,
    SpeakerScores,
)
from phoneme_moe.files.writing import write_json
from phoneme_moe.inference import recognize_split
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.recipe import Recipe
from phoneme_moe.run_folder import LoadedRun


@dataclass(frozen=True)
class Evaluation:
    """Errors of a run on a split.

    Attributes:
        recipe: Name of the run's recipe.
        corpus: Name of the corpus.
        split: ``train``, ``dev`` or ``test``.
        task: ``classify`` or ``recognize``.
        phoneme_set: The model's phonemes; scoring maps none onto another.
        total: Errors over all utterances (or tokens).
        by_speaker: Errors of each speaker.
        by_corpus: Errors on each of several corpora; empty for one.
        any_pronunciation: Errors against the closest pronunciation of each word, under ``all`` and
            by corpus; empty if no word of the split has several.
        unseen: Speakers that the run was not trained on.
        beam: Beam width; None for greedy decoding.
        utterances: Errors of each utterance, by its identifier.
    """

    recipe: str
    corpus: str
    split: str
    task: Literal["classify", "recognize"]
    phoneme_set: tuple[str, ...]
    total: Score
    by_speaker: dict[str, Score]
    unseen: tuple[str, ...]
    beam: int | None = None
    utterances: dict[str, UtteranceScore] = field(default_factory=dict)
    by_corpus: dict[str, Score] = field(default_factory=dict)
    any_pronunciation: dict[str, Score] = field(default_factory=dict)

    def against(self, other: Evaluation) -> PairedDifference:
        """Error rate of this evaluation minus that of another on the same split."""
        names = list(self.utterances)
        return paired_difference(
            [other.utterances[name] for name in names], [self.utterances[name] for name in names]
        )

    @property
    def measure(self) -> str:
        """``accuracy`` for tokens; ``per``, the phoneme error rate, for utterances."""
        return "accuracy" if self.task == "classify" else "per"

    def to_json(self) -> dict[str, Any]:
        """Plain data as in ``EvaluationDocument``."""
        total = Scores.of(self.total, self.measure)
        parts = {name: Scores.of(score, self.measure) for name, score in self.by_corpus.items()}
        document = EvaluationDocument(
            version=1,
            recipe=self.recipe,
            corpus=self.corpus,
            split=self.split,
            task=self.task,
            fold=f"none ({len(self.phoneme_set)} phonemes)",
            beam=self.beam,
            **total.model_dump(exclude_unset=True),
            confusions=[
                Confusion(reference=r, hypothesis=h, count=n) for r, h, n in self.total.confusions
            ],
            by_speaker={
                speaker: SpeakerScores(
                    **Scores.of(score, self.measure).model_dump(exclude_unset=True),
                    unseen=speaker in self.unseen,
                )
                for speaker, score in self.by_speaker.items()
            },
        )
        if parts:
            document = document.model_copy(update={"by_corpus": parts})
        if self.any_pronunciation:
            rates = {name: score.error_rate for name, score in self.any_pronunciation.items()}
            document = document.model_copy(update={"any_pronunciation": rates})
        return document.model_dump(mode="json", exclude_unset=True)

    def save(self, path: Path) -> None:
        """Writes the JSON file atomically."""
        write_json(path, self.to_json())


def score_hypotheses(
    hypotheses: Iterable[tuple[Example, Sequence[str]]],
) -> dict[str, UtteranceScore]:
    """Errors of each utterance, by its identifier.

    Args:
        hypotheses: Pairs of an example and its decoded phonemes.
    """
    return {
        example.utterance: score_utterance(example.phonemes, hypothesis)
        for example, hypothesis in hypotheses
    }


def evaluate(
    run: LoadedRun,
    split: str = "test",
    corpus: str | PreparedCorpus | None = None,
    expert: str | None = None,
    beam: int | None = None,
    override: RoutingOverride | None = None,
    best: bool = False,
) -> Evaluation:
    """Scores a run on a split.

    Args:
        run: The run.
        split: ``train``, ``dev`` or ``test``.
        corpus: A prepared corpus; by default the run's own.
        expert: Name of a single expert to route everything to.
        beam: Beam width of a search with the run's n-gram, 0 for greedy decoding; by default the
            run's own setting.
        override: Routing to use instead of that of the gate or routers.
        best: Whether to decode with the run's slow search with the fewest errors.

    Raises:
        InputError: The corpus is not prepared or shares no phoneme with the model, or the run has
            no such expert.
    """
    if corpus is None:
        corpus = run.recipe.corpus.name
    if isinstance(corpus, str):
        corpus = load_corpus(corpus)
    recipe, names = run.recipe, run.recognizer.expert_names
    if expert is not None and expert not in names:
        raise ArgumentError(
            "expert", f"{run.name} has no expert {expert!r}{suggest(expert, names)}"
        )
    examples = load_examples(recipe, corpus, split, run.recognizer, split_speakers(recipe, corpus))
    decoding = run.decoding.with_best() if best else run.decoding
    recognized = recognize_split(
        run.recognizer,
        examples,
        None if expert is None else names.index(expert),
        override=override,
        decoding=decoding,
        beam=beam,
    )
    hypotheses = {u.example.utterance: (u.example, u.hypothesis) for u in recognized}
    utterances = score_hypotheses(hypotheses.values())
    by_speaker: dict[str, list[UtteranceScore]] = {}
    speaker_of = {example.utterance: example.speaker for example in examples}
    for name, score in utterances.items():
        by_speaker.setdefault(speaker_of[name], []).append(score)
    by_corpus = _scores_by_corpus(corpus, utterances)
    any_pronunciation: dict[str, Score] = {}
    if any(example.pronunciations for example in examples):
        closest = score_hypotheses(
            (_with_closest_reference(example, hypothesis), hypothesis)
            for example, hypothesis in hypotheses.values()
        )
        any_pronunciation = {
            "all": total_score(list(closest.values())),
            **_scores_by_corpus(corpus, closest),
        }
    trained = _trained_speakers(recipe, corpus)
    return Evaluation(
        recipe=recipe.name,
        corpus=corpus.name,
        split=split,
        task=recipe.task.kind,
        phoneme_set=run.recognizer.phonemes.symbols,
        total=total_score([score for scores in by_speaker.values() for score in scores]),
        by_speaker={name: total_score(by_speaker[name]) for name in sorted(by_speaker)},
        unseen=tuple(name for name in sorted(by_speaker) if name not in trained),
        beam=decoding.beam_for(beam),
        utterances=utterances,
        by_corpus=by_corpus,
        any_pronunciation=any_pronunciation,
    )


def _trained_speakers(recipe: Recipe, corpus: PreparedCorpus) -> set[str]:
    """Speakers of a corpus with whose speech a run was trained, be it one of several corpora."""
    own, section = recipe.corpus.name.split(PLUS), recipe.corpus
    several = isinstance(corpus, JoinedCorpus)
    trained = set()
    for part in corpus.parts if isinstance(corpus, JoinedCorpus) else (corpus,):
        if part.name not in own:
            continue
        cuts = part.iter_cuts("train", checked=False)
        for speaker in {cut.supervisions[0].speaker for cut in cuts}:
            joined = joined_speaker(part, speaker)
            name = joined if len(own) > 1 else speaker
            chosen = section.speakers is None or name in section.speakers
            if chosen and name not in section.held_out_speakers:
                trained.add(joined if several else speaker)
    return trained


def _scores_by_corpus(
    corpus: PreparedCorpus, utterances: dict[str, UtteranceScore]
) -> dict[str, Score]:
    """Errors on each of joined corpora; empty for a single one."""
    if not isinstance(corpus, JoinedCorpus):
        return {}
    scores: dict[str, list[UtteranceScore]] = {}
    for name, score in utterances.items():
        scores.setdefault(corpus.corpus_of(name), []).append(score)
    return {name: total_score(of_corpus) for name, of_corpus in scores.items()}


def _with_closest_reference(example: Example, hypothesis: Sequence[str]) -> Example:
    """The example with those pronunciations as its reference that are closest to a hypothesis."""
    if not example.pronunciations:
        return example
    chosen = closest_reference(example.pronunciations, hypothesis)
    words = zip(example.pronunciations, chosen, strict=True)
    return replace(example, phonemes=tuple(p for word, index in words for p in word[index]))
