"""Adaptation of a run to a new speaker from a few utterances.

There are two methods, both with the existing experts frozen. Either only the gate is trained, in
the way that the speaker MHT was recognised through the experts of other speakers (Hampshire &
Waibel 1990); or the speaker also gets an expert, which starts as a copy of the best existing one.
Utterances of the old speakers are replayed in the training of the gate, so that it does not forget
them. Every third utterance is held out, and all results are measured on these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.data.speakers import corpus_speakers
from phoneme_moe.decoding.scoring import (
    UtteranceScore,
    paired_difference,
    score_utterance,
    total_score,
)
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.features.encoder_folder import copy_encoder
from phoneme_moe.files.atomic import atomic_folder, is_empty
from phoneme_moe.files.writing import write_json
from phoneme_moe.inference import recognize_split
from phoneme_moe.model.adaptation import ADAPTATION, AdaptationDocument
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.run_folder import (
    LoadedRun,
    load_run,
    read_recipe,
    save_decoding,
    save_model,
    save_recipe,
)
from phoneme_moe.training.labelled_examples import labelled_examples
from phoneme_moe.training.new_speaker import add_speaker_expert, train_gate

Way = Literal["gate", "expert"]
AnyRun = TypeVar("AnyRun", bound=LoadedRun)

MAX_REPLAYED = 400
"""Most utterances of old speakers in the training of the gate."""


@dataclass(frozen=True)
class Adaptation(Generic[AnyRun]):
    """The result of an adaptation.

    Attributes:
        run: The adapted run.
        way: ``gate`` or ``expert``.
        speaker: The new speaker.
        learned: Number of training utterances.
        held_out: Number of held-out utterances.
        before: Error rate on the held-out utterances before adaptation, a fraction.
        after: Error rate on them after adaptation.
        interval: 95 % interval of the change, paired bootstrap over utterances.
        old_before: Error rate of the old speakers on test before adaptation; None if their corpus
            is not prepared.
        old_after: Error rate on them after adaptation.
        blend: Mean weight of each expert on the held-out utterances, by name.
        earlier_speakers: Speakers of earlier adaptations of the run, in order.
    """

    run: AnyRun
    way: Way
    speaker: str
    learned: int
    held_out: int
    before: float
    after: float
    interval: tuple[float, float]
    old_before: float | None
    old_after: float | None
    blend: Mapping[str, float]
    earlier_speakers: Sequence[str] = ()

    @property
    def pays(self) -> bool:
        """Whether the new speaker's error rate fell."""
        return self.after < self.before

    def to_document(self) -> AdaptationDocument:
        """What ``adaptation.json`` has of it."""
        return AdaptationDocument(
            version=1,
            way=self.way,
            speaker=self.speaker,
            learned=self.learned,
            held_out=self.held_out,
            before=self.before,
            after=self.after,
            interval=list(self.interval),
            old_before=self.old_before,
            old_after=self.old_after,
            blend=dict(self.blend),
            pays=self.pays,
            earlier_speakers=list(self.earlier_speakers),
        )


def adapt(
    run: LoadedRun,
    speaker: str,
    folder: Path,
    out: Path,
    way: Way,
    lexicon: Path | None = None,
    tier: str | None = None,
) -> Adaptation[LoadedRun]:
    """Adapts a run to a speaker and writes a new run folder, atomically.

    Args:
        run: A run that recognises utterances by experts behind a gate.
        speaker: Name of the new speaker, and of the new expert if there is one.
        folder: Folder of recordings, each with a label file of its phonemes (or words) beside it.
        out: The new run folder; must be missing or empty.
        way: ``gate`` or ``expert``.
        lexicon: Pronunciation dictionary, if the labels are words.
        tier: Tier of TextGrids; by default one with a usual name.

    Raises:
        InputError: The run has no trainable gate, the folder too few recordings, or ``out`` is not
            empty.
    """
    require_gate(run)
    if speaker in run.recognizer.expert_names:
        raise ArgumentError("speaker", f"{run.name} already has an expert {speaker!r}")
    with atomic_folder(out, require_empty) as new:
        adaptation = _adapt_into(new, run, speaker, folder, way, lexicon, tier)
    return replace(adaptation, run=load_run(out))


def require_empty(out: Path) -> None:
    """Checks that a folder is missing or empty.

    Raises:
        ArgumentError: It is not.
    """
    if out.exists() and not (out.is_dir() and is_empty(out)):
        raise ArgumentError("out", f"{out}: not empty; expected an empty or new folder")


def _adapt_into(
    out: Path,
    run: LoadedRun,
    speaker: str,
    folder: Path,
    way: Way,
    lexicon: Path | None,
    tier: str | None,
) -> Adaptation[LoadedRun]:
    """Adapts a run and writes the files of the new one into an existing folder."""
    recognizer = run.recognizer.cpu()
    examples = labelled_examples(recognizer, folder, speaker, lexicon, tier)
    held_out = examples[2::3]
    training = [example for number, example in enumerate(examples) if number % 3 != 2]
    old_train, old_test = _old_examples(run)
    before, _ = _scores(recognizer, held_out)
    old_before, _ = _scores(recognizer, old_test)
    adapted = recognizer
    if way == "expert":
        adapted = add_speaker_expert(run, speaker, training)
    else:
        # A copy, so that the argument is not changed.
        adapted = load_run(run.folder).recognizer
    train_gate(adapted, training, old_train, run.recipe.seed)
    after, blend = _scores(adapted, held_out)
    old_after, _ = _scores(adapted, old_test)
    recipe = read_recipe(run.folder)  # names the encoder as it is stored
    copy_encoder(run.folder, out)
    save_recipe(out, recipe)
    save_model(out, recipe, adapted)
    save_decoding(out, run.decoding)
    difference = paired_difference(before, after)
    earlier = AdaptationDocument.read_if_present(run.folder / ADAPTATION)
    adaptation = Adaptation(
        load_run(out),
        way,
        speaker,
        len(training),
        len(held_out),
        total_score(before).error_rate,
        total_score(after).error_rate,
        difference.interval,
        total_score(old_before).error_rate if old_test else None,
        total_score(old_after).error_rate if old_test else None,
        blend,
        () if earlier is None else (*earlier.earlier_speakers, earlier.speaker),
    )
    write_json(out / ADAPTATION, adaptation.to_document().model_dump())
    return adaptation


def require_gate(run: LoadedRun) -> None:
    """Checks that a run has experts behind a gate, and that both can be trained.

    Raises:
        InputError: It does not.
    """
    model = run.recipe.model
    recognizer = run.recognizer
    if recognizer.task.kind != "recognize" or recognizer.gate is None or not model.gate:
        raise InputError(
            f"{run.name}: expected a run that recognises utterances by experts behind a gate "
            "(such as six_speakers_digits); for sparse layers, use grow"
        )
    if not model.gate.learns or model.functions or model.expert.kind == "function":
        raise InputError(
            f"{run.name}: its gate or experts are registered functions, which cannot be trained"
        )


def _old_examples(run: LoadedRun) -> tuple[list[Example], list[Example]]:
    """Training and test utterances of the old speakers; none if their corpus is not prepared."""
    try:
        corpus = load_corpus(run.recipe.corpus.name)
    except InputError:
        return [], []
    return old_examples(run, corpus)


def old_examples(
    run: LoadedRun, corpus: PreparedCorpus, most: int = MAX_REPLAYED
) -> tuple[list[Example], list[Example]]:
    """Training utterances of the old speakers, of which about ``most`` are replayed, and test."""
    speakers = corpus_speakers(run.recipe, corpus)
    train = load_examples(run.recipe, corpus, "train", run.recognizer, speakers)
    test = load_examples(run.recipe, corpus, "test", run.recognizer, speakers)
    step = max(1, len(train) // most)
    return train[::step], test


def _scores(
    recognizer: Recognizer, examples: Sequence[Example]
) -> tuple[list[UtteranceScore], dict[str, float]]:
    """Errors of each utterance, and the mean gate weight of each expert."""
    if not examples:
        return [], {}
    scores: dict[str, UtteranceScore] = {}
    weights = []
    for utterance in recognize_split(recognizer, examples, layers=[None]):
        example = utterance.example
        scores[example.utterance] = score_utterance(example.phonemes, utterance.hypothesis)
        weights.append(utterance.weights[None])
    mean = np.concatenate(weights).mean(axis=0, dtype=np.float64)
    blend = dict(zip(recognizer.expert_names, mean.tolist(), strict=True))
    return [scores[example.utterance] for example in examples], blend
