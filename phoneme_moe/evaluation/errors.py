"""How well a run recognises: overall, for each speaker, and which phonemes are confused."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.decoding.scoring import (
    PairedDifference,
    Score,
    UtteranceScore,
    paired_difference,
    score_utterance,
    total_score,
)
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.files import write_json
from phoneme_moe.inference import recognize_split
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.run_folder import LoadedRun

EVALUATION_VERSION = 1
"""Version of ``evaluation.json`` (docs/schemas/evaluation.schema.json)."""


@dataclass(frozen=True)
class Evaluation:
    """Errors of a run on a split.

    Attributes:
        recipe: Name of the run's recipe.
        corpus: Whose split.
        split: ``train``, ``dev`` or ``test``.
        task: ``classify`` or ``recognize``.
        phoneme_set: Phonemes that were scored; nothing is folded onto anything.
        total: Errors over all utterances (tokens).
        by_speaker: Errors of each speaker.
        unseen: Speakers that the run was not trained on.
        beam: Readings that a beam search kept; None for the best path.
        utterances: Errors of each utterance, by its identifier.
    """

    recipe: str
    corpus: str
    split: str
    task: str
    phoneme_set: tuple[str, ...]
    total: Score
    by_speaker: dict[str, Score]
    unseen: tuple[str, ...]
    beam: int | None = None
    utterances: dict[str, UtteranceScore] = field(default_factory=dict)

    def against(self, other: Evaluation) -> PairedDifference:
        """How the error rate changes from another evaluation of the same split to this one."""
        names = list(self.utterances)
        return paired_difference(
            [other.utterances[name] for name in names], [self.utterances[name] for name in names]
        )

    @property
    def measure(self) -> str:
        """``accuracy`` of tokens or ``per``, the phoneme error rate of utterances."""
        return "accuracy" if self.task == "classify" else "per"

    def to_json(self) -> dict[str, Any]:
        """Plain data, documented in docs/schemas/evaluation.schema.json."""
        return {
            "version": EVALUATION_VERSION,
            "recipe": self.recipe,
            "corpus": self.corpus,
            "split": self.split,
            "task": self.task,
            "fold": f"none ({len(self.phoneme_set)} phonemes)",
            "beam": self.beam,
            **self._score_json(self.total),
            "confusions": [
                {"reference": r, "hypothesis": h, "count": n} for r, h, n in self.total.confusions
            ],
            "by_speaker": {
                speaker: self._score_json(score) | {"unseen": speaker in self.unseen}
                for speaker, score in self.by_speaker.items()
            },
        }

    def _score_json(self, score: Score) -> dict[str, Any]:
        low, high = score.interval
        accuracy = self.task == "classify"
        counts = dataclasses.asdict(score)
        return {
            self.measure: 1 - score.error_rate if accuracy else score.error_rate,
            "interval": [1 - high, 1 - low] if accuracy else [low, high],
            "errors": score.substitutions + score.insertions + score.deletions,
            **{k: counts[k] for k in ("substitutions", "insertions", "deletions")},
            "phonemes": score.num_reference,
            "utterances": score.num_utterances,
        }

    def save(self, path: Path) -> None:
        """Writes the JSON file whole or not at all."""
        write_json(path, self.to_json())


def evaluate(
    run: LoadedRun,
    split: str = "test",
    corpus: str | PreparedCorpus | None = None,
    expert: str | None = None,
    beam: int | None = None,
    override: RoutingOverride | None = None,
) -> Evaluation:
    """Scores a run against what was really said.

    Args:
        run: The run.
        split: ``train``, ``dev`` or ``test``.
        corpus: Another prepared corpus than the run's own.
        expert: Let this expert alone answer, instead of the gate.
        beam: Readings that a beam search with the run's n-gram keeps, 0 for the best path; as the
            run does when left out.
        override: Other experts than the gate or the routers would ask.

    Raises:
        InputError: The corpus is not prepared or shares no phoneme with the model, or the run has
            no such expert.
    """
    if corpus is None:
        corpus = run.recipe.corpus.name
    if isinstance(corpus, str):
        corpus = load_corpus(corpus)
    own = corpus.name == run.recipe.corpus.name
    recipe = run.recipe
    speakers = split_speakers(recipe, corpus)
    examples = load_examples(recipe, corpus, split, run.recognizer, speakers)
    names = run.recognizer.expert_names
    if expert is not None and expert not in names:
        raise InputError(f"expert: {run.folder} has no expert {expert!r}{suggest(expert, names)}")
    chosen = None if expert is None else names.index(expert)
    scores: dict[str, list[UtteranceScore]] = {}
    utterances: dict[str, UtteranceScore] = {}
    for utterance in recognize_split(
        run.recognizer, examples, chosen, override=override, decoding=run.decoding, beam=beam
    ):
        example = utterance.example
        score = score_utterance(example.phonemes, utterance.hypothesis)
        scores.setdefault(example.speaker, []).append(score)
        utterances[example.utterance] = score
    trained = set(corpus.speakers if recipe.corpus.speakers is None else recipe.corpus.speakers)
    trained -= set(recipe.corpus.held_out_speakers)
    return Evaluation(
        recipe=recipe.name,
        corpus=corpus.name,
        split=split,
        task=recipe.task.kind,
        phoneme_set=run.recognizer.phonemes.symbols,
        total=total_score([score for own_scores in scores.values() for score in own_scores]),
        by_speaker={speaker: total_score(scores[speaker]) for speaker in sorted(scores)},
        unseen=tuple(s for s in sorted(scores) if not own or s not in trained),
        beam=run.decoding.beam_for(beam),
        utterances=utterances,
    )
