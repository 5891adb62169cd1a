"""Growing for new speech: experts for what a run serves badly, with all that is old frozen.

The utterances of the new corpus that are served badly (``training.underserved``) are clustered, and
each cluster gets an expert: behind a gate one that is trained on the cluster, after which the gate
learns when to use it (``training.new_speaker``); in sparse layers a copy of an expert with a high
load on these utterances, of which only its own weights and its row of the router are trained
(Lifelong-MoE: Chen et al. 2023). Old speech is replayed, so that its routing hardly changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.data.speakers import corpus_speakers
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.features.encoder_folder import copy_encoder
from phoneme_moe.files.atomic import atomic_folder, is_temporary
from phoneme_moe.files.writing import write_json
from phoneme_moe.model.growth import GROWTH, GrowthDocument
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe
from phoneme_moe.run_folder import LoadedRun, read_recipe, save_decoding, save_model, save_recipe
from phoneme_moe.training.adapt import old_examples, require_empty, require_gate
from phoneme_moe.training.grow import grown_recipe
from phoneme_moe.training.growth_checkpoint import CHECKPOINT
from phoneme_moe.training.growth_effect import measure_growth
from phoneme_moe.training.new_speaker import add_speaker_expert, train_gate
from phoneme_moe.training.sparse_growth import add_sparse_experts
from phoneme_moe.training.underserved import (
    NewSpeech,
    badly_served_threshold,
    cluster_utterances,
    measure_served,
    trigram_of,
)

MAX_REPLAYED = 2000
"""Most utterances of old speech that are replayed."""


def find_new_speech(run: LoadedRun, corpus_name: str, experts: int | None = None) -> NewSpeech:
    """Finds the utterances of a corpus that a run serves badly, and clusters them.

    Of the run's own corpus, those of speakers that were not in its training are the new speech.

    Args:
        run: The trained run.
        corpus_name: Name of a prepared corpus.
        experts: Number of clusters; by default as many as there seem to be.

    Raises:
        InputError: The run cannot grow, or a corpus is not prepared or cannot be used.
    """
    if experts is not None and experts < 1:
        raise ArgumentError("experts", f"found {experts}, expected at least 1")
    if run.recognizer.encoder is None:
        require_gate(run)
    else:
        grown_recipe(run.recipe, 1, 1, None)  # says so if it cannot
    new, old = load_corpus(corpus_name), load_corpus(run.recipe.corpus.name)
    speakers = _new_speakers(run.recipe, new, old)
    train = load_examples(run.recipe, new, "train", run.recognizer, speakers)
    for example in train:
        _require_phonemes(run, new, example)
    dev = load_examples(run.recipe, old, "dev", run.recognizer, corpus_speakers(run.recipe, old))
    trigram = trigram_of(run)
    threshold = badly_served_threshold(measure_served(run.recognizer, dev, trigram))
    served = measure_served(run.recognizer, train, trigram)
    bad = np.flatnonzero(served.is_bad(threshold))
    found = NewSpeech(
        new.name, threshold, train, [train[i] for i in bad], np.zeros(len(bad), dtype=np.intp)
    )
    if not found.is_another_kind:
        return found
    if experts is not None and experts > len(bad):
        raise ArgumentError(
            "experts",
            f"found {experts}, expected at most {len(bad)}, the number of badly served utterances",
        )
    clusters = cluster_utterances(served.descriptions[bad], experts, run.recipe.seed)
    return replace(found, clusters=clusters)


def _new_speakers(recipe: Recipe, new: PreparedCorpus, old: PreparedCorpus) -> tuple[str, ...]:
    """Speakers of the new speech."""
    known = corpus_speakers(recipe, old)
    if new.name in {old.name, *recipe.corpus.name.split("+")}:
        others = tuple(s for s in new.speakers if s not in known) if new.name == old.name else ()
        if not others:
            raise InputError(
                f"grow: {new.name} is the corpus of the run, and the run was trained on all its "
                "speakers; expected another corpus"
            )
        return others
    tested = {cut.supervisions[0].speaker for cut in old.iter_cuts("test")}
    shared = sorted(tested.intersection(new.speakers))
    if shared:
        raise InputError(
            f"grow: {new.name} has the speaker {shared[0]!r}, who is in the test split of "
            f"{old.name}; expected other speakers"
        )
    return new.speakers


def _require_phonemes(run: LoadedRun, corpus: PreparedCorpus, example: Example) -> None:
    for phoneme in example.phonemes:
        if phoneme not in run.recognizer.phonemes:
            raise InputError(
                f"grow: {corpus.name} has the phoneme {phoneme!r} (utterance {example.utterance}), "
                f"which the model lacks; expected {' '.join(run.recognizer.phonemes.symbols)}"
            )


def grow_for_speech(
    run: LoadedRun,
    speech: NewSpeech,
    out: Path,
    epochs: int | None = None,
    learning_rate: float | None = None,
) -> GrowthDocument:
    """Adds an expert for each cluster of new speech and writes a new run folder, atomically.

    Args:
        run: The trained run, which is not changed.
        speech: What ``find_new_speech`` found in a corpus.
        out: The new run folder; must be missing or empty, or have the checkpoint that an
            interrupted call left, which is continued.
        epochs: Number of passes over the badly served utterances in sparse layers, 10 by default.
            Experts behind a gate train for a fixed number of steps.
        learning_rate: Peak learning rate in sparse layers; by default half of the last stage's.

    Returns:
        What ``growth.json`` has.

    Raises:
        InputError: Settings of sparse layers are given for a gate, or ``out`` is not empty.
    """
    sparse = run.recognizer.encoder is not None
    for name, given in (("epochs", epochs), ("learning_rate", learning_rate)):
        if given is not None and not sparse:
            raise ArgumentError(
                name, "is for sparse layers; experts behind a gate train for a fixed time"
            )
    with atomic_folder(out, require_new) as folder:
        old_corpus, new_corpus = load_corpus(run.recipe.corpus.name), load_corpus(speech.corpus)
        replayed, old_test = old_examples(run, old_corpus, MAX_REPLAYED)
        speakers = _new_speakers(run.recipe, new_corpus, old_corpus)
        new_test = load_examples(run.recipe, new_corpus, "test", run.recognizer, speakers)
        recipe = read_recipe(run.folder)  # names the encoder as it is stored
        if sparse:
            number = len(speech.by_cluster())
            recipe = grown_recipe(recipe, number, epochs or 10, learning_rate)
            grown = add_sparse_experts(run, recipe, speech.badly_served, replayed, out / CHECKPOINT)
        else:
            grown = _add_behind_gate(run, speech, replayed)
        document = measure_growth(run, grown, speech, new_test, old_test)
        copy_encoder(run.folder, folder)
        save_recipe(folder, recipe)
        save_model(folder, recipe, grown)
        save_decoding(folder, run.decoding)
        write_json(folder / GROWTH, document.model_dump())
    return document


def require_new(out: Path) -> None:
    """Checks that a folder is missing or empty, but for the checkpoint of an interrupted growth.

    Raises:
        ArgumentError: It is not.
    """
    names = {path.name for path in out.iterdir() if not is_temporary(path)} if out.is_dir() else ()
    if names != {CHECKPOINT}:
        require_empty(out)


def _add_behind_gate(run: LoadedRun, speech: NewSpeech, replayed: Sequence[Example]) -> Recognizer:
    torch.manual_seed(run.recipe.seed)  # dropout and augmentation
    before = run.recognizer
    for number, examples in enumerate(speech.by_cluster(), 1):
        name = _expert_name(examples, speech, number, run.recognizer.expert_names)
        run = replace(run, recognizer=add_speaker_expert(run, name, examples))
    train_gate(run.recognizer, speech.badly_served, replayed, run.recipe.seed, before)
    return run.recognizer


def _expert_name(
    examples: Sequence[Example], speech: NewSpeech, number: int, taken: Sequence[str]
) -> str:
    """The speaker of a cluster, or else the corpus with a number."""
    speakers = {example.speaker for example in examples}
    if len(speakers) == 1 and not speakers.intersection(taken):
        return speakers.pop()
    name = f"{speech.corpus}_{number}"
    while name in taken:
        number += 1
        name = f"{speech.corpus}_{number}"
    return name
