"""A few utterances of a new speaker, and a run that knows them.

Two ways, both with the old experts frozen. The gate alone learns whom to ask for the new voice, as
the speaker MHT of 1990 was recognised through the experts of others (Hampshire & Waibel 1990); or
the speaker gets an expert too: a copy of the one that serves best, trained on the utterances, and
a gate that learns to ask it. The gate hears old speakers beside the new one, so that it does not
forget them.

Of every three utterances one is held out: what the report says is measured on these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phoneme_moe.corpora import load_corpus
from phoneme_moe.data.examples import Example, corpus_speakers, load_examples
from phoneme_moe.decoding.scoring import (
    UtteranceScore,
    paired_difference,
    score_utterance,
    total_score,
)
from phoneme_moe.errors import InputError
from phoneme_moe.files import write_json
from phoneme_moe.inference import recognize_split
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.run_folder import LoadedRun, load_run, save_decoding, save_model, save_recipe
from phoneme_moe.training.labelled_folder import labelled_examples
from phoneme_moe.training.new_speaker import teach_gate, with_new_expert

Way = Literal["gate", "expert"]

REPLAYED = 400
"""Old utterances that are heard again at most."""


@dataclass(frozen=True)
class Adaptation:
    """What came of it.

    Attributes:
        run: The adapted run.
        way: ``gate`` or ``expert``.
        speaker: Who is new.
        learned: Utterances learned from.
        held_out: Utterances held out.
        before: Error rate on these of the run as it was, a fraction.
        after: The same of the adapted run.
        interval: 95 % interval of the change, paired bootstrap over utterances.
        old_before: Error rate of the old speakers on test before; None where their corpus is not
            prepared here.
        old_after: And after.
        blend: Mean weight of each expert on the held-out utterances, by name.
    """

    run: LoadedRun
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

    @property
    def pays(self) -> bool:
        """Whether the new speaker is recognised better than before."""
        return self.after < self.before

    def to_json(self) -> dict[str, Any]:
        """Plain data, for ``adaptation.json``."""
        return {
            "version": 1,
            "way": self.way,
            "speaker": self.speaker,
            "learned": self.learned,
            "held_out": self.held_out,
            "before": self.before,
            "after": self.after,
            "interval": list(self.interval),
            "old_before": self.old_before,
            "old_after": self.old_after,
            "blend": dict(self.blend),
            "pays": self.pays,
        }


def adapt(
    run: LoadedRun, speaker: str, folder: Path, out: Path, way: Way, lexicon: Path | None = None
) -> Adaptation:
    """Adapts a run to a speaker and leaves a new run folder.

    Args:
        run: A mixture behind a gate that recognises utterances.
        speaker: Name of the new speaker; of his expert too, where he gets one.
        folder: Recordings, each beside a text file of the same name with its phonemes (or words).
        out: The new run folder; empty or missing.
        way: ``gate`` or ``expert``.
        lexicon: Pronunciations, where the text files have words.

    Raises:
        InputError: The run has no gate that learns, the folder has too little, or ``out`` is taken.
    """
    _check(run, speaker, out)
    recognizer = run.recognizer.cpu()
    examples = labelled_examples(recognizer, folder, speaker, lexicon)
    held_out = examples[2::3]
    learned = [example for number, example in enumerate(examples) if number % 3 != 2]
    old_train, old_test = _old_examples(run)
    before, _ = _scores(recognizer, held_out)
    old_before, _ = _scores(recognizer, old_test)
    adapted = recognizer
    if way == "expert":
        adapted = with_new_expert(run, speaker, learned)
    else:
        # A copy: the run that was given stays what it is.
        adapted = load_run(run.folder).recognizer
    teach_gate(adapted, learned, old_train, run.recipe.seed)
    after, blend = _scores(adapted, held_out)
    old_after, _ = _scores(adapted, old_test)
    save_recipe(out, run.recipe)
    save_model(out, run.recipe, adapted)
    save_decoding(out, run.decoding)
    found = paired_difference(before, after)
    adaptation = Adaptation(
        load_run(out),
        way,
        speaker,
        len(learned),
        len(held_out),
        total_score(before).error_rate,
        total_score(after).error_rate,
        found.interval,
        total_score(old_before).error_rate if old_test else None,
        total_score(old_after).error_rate if old_test else None,
        blend,
    )
    write_json(out / "adaptation.json", adaptation.to_json())
    return adaptation


def _check(run: LoadedRun, speaker: str, out: Path) -> None:
    model = run.recipe.model
    recognizer = run.recognizer
    if recognizer.task.kind != "recognize" or recognizer.gate is None or not model.gate:
        raise InputError(
            f"{run.folder}: expected a run that recognises utterances by experts behind a gate "
            "(six_speakers_digits); a sparse one can be given more experts with grow"
        )
    if not model.gate.learns or model.functions or model.expert.kind == "function":
        raise InputError(f"{run.folder}: its gate or its experts are functions, which do not learn")
    if speaker in recognizer.expert_names:
        raise InputError(f"--speaker: {run.folder} has an expert {speaker!r} already")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: found something there; expected an empty or new folder")


def _old_examples(run: LoadedRun) -> tuple[list[Example], list[Example]]:
    """Training and test utterances of the old speakers; none where their corpus is not here."""
    try:
        corpus = load_corpus(run.recipe.corpus.name)
    except InputError:
        return [], []
    speakers = corpus_speakers(run.recipe, corpus)
    train = load_examples(run.recipe, corpus, "train", run.recognizer, speakers)
    test = load_examples(run.recipe, corpus, "test", run.recognizer, speakers)
    step = max(1, len(train) // REPLAYED)
    return train[::step], test


def _scores(
    recognizer: Recognizer, examples: Sequence[Example]
) -> tuple[list[UtteranceScore], dict[str, float]]:
    """Errors of each utterance in order, and the mean weight of each expert."""
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
