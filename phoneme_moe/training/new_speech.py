"""Growing for new speech: experts for what a run serves badly, with all that is old frozen.

The utterances of the new corpus that are served badly (``training.underserved``) are clustered, and
each cluster gets an expert: behind a gate one that is trained on the cluster, after which the gate
learns when to use it (``training.new_speaker``); in sparse layers a copy of an expert with a high
load on these utterances, of which only its own weights and its row of the router are trained
(Lifelong-MoE: Chen et al. 2023). Old speech is replayed, so that its routing hardly changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.data.speakers import corpus_speakers
from phoneme_moe.decoding.scoring import paired_difference, score_utterance, total_score
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.features.encoder_folder import copy_encoder
from phoneme_moe.files.atomic import atomic_folder
from phoneme_moe.files.writing import write_json
from phoneme_moe.inference import recognize_split
from phoneme_moe.model.growth import GROWTH, AddedExpert, Change, Cluster, GrowthDocument
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe
from phoneme_moe.run_folder import LoadedRun, read_recipe, save_decoding, save_model, save_recipe
from phoneme_moe.training.adapt import old_examples, require_empty, require_gate
from phoneme_moe.training.grow import grown_recipe
from phoneme_moe.training.new_speaker import add_speaker_expert, train_gate
from phoneme_moe.training.sparse_growth import add_sparse_experts
from phoneme_moe.training.underserved import (
    SMALLEST_CLUSTER,
    SMALLEST_SHARE,
    badly_served_threshold,
    cluster_utterances,
    measure_served,
)

MAX_REPLAYED = 2000
"""Most utterances of old speech that are replayed."""


@dataclass(frozen=True)
class NewSpeech:
    """Speech on which a run is grown.

    Attributes:
        corpus: Name of the corpus.
        threshold: Log probability per phoneme below which an utterance is served badly, in nats.
        train: Training utterances of the new speech.
        badly_served: Those of them that are served badly.
        clusters: Cluster of each of these, shape (utterances,).
    """

    corpus: str
    threshold: float
    train: Sequence[Example]
    badly_served: Sequence[Example]
    clusters: NDArray[np.intp]

    @property
    def is_another_kind(self) -> bool:
        """Whether enough of it is served badly for another expert."""
        enough = max(SMALLEST_CLUSTER, SMALLEST_SHARE * len(self.train))
        return len(self.badly_served) >= enough

    def by_cluster(self) -> list[list[Example]]:
        """The badly served utterances of each cluster."""
        return [
            [e for e, c in zip(self.badly_served, self.clusters, strict=True) if c == number]
            for number in range(int(self.clusters.max(initial=-1)) + 1)
        ]


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
    threshold = badly_served_threshold(measure_served(run.recognizer, dev))
    served = measure_served(run.recognizer, train)
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
    tested = {cut.supervisions[0].speaker for cut in old.cuts("test")}
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
        out: The new run folder; must be missing or empty.
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
    with atomic_folder(out, require_empty) as folder:
        old_corpus, new_corpus = load_corpus(run.recipe.corpus.name), load_corpus(speech.corpus)
        replayed, old_test = old_examples(run, old_corpus, MAX_REPLAYED)
        speakers = _new_speakers(run.recipe, new_corpus, old_corpus)
        new_test = load_examples(run.recipe, new_corpus, "test", run.recognizer, speakers)
        recipe = read_recipe(run.folder)  # names the encoder as it is stored
        if sparse:
            number = len(speech.by_cluster())
            recipe = grown_recipe(recipe, number, epochs or 10, learning_rate)
            grown = add_sparse_experts(run, recipe, speech.badly_served, replayed)
        else:
            grown = _add_behind_gate(run, speech, replayed)
        document = _measure(run, grown, speech, new_test, old_test)
        copy_encoder(run.folder, folder)
        save_recipe(folder, recipe)
        save_model(folder, recipe, grown)
        save_decoding(folder, run.decoding)
        write_json(folder / GROWTH, document.model_dump())
    return document


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


def _measure(
    run: LoadedRun,
    grown: Recognizer,
    speech: NewSpeech,
    new_test: Sequence[Example],
    old_test: Sequence[Example],
) -> GrowthDocument:
    clusters = [
        Cluster(
            utterances=len(examples),
            speakers=dict(sorted(Counter(example.speaker for example in examples).items())),
        )
        for examples in speech.by_cluster()
    ]
    grown.decoding = run.decoding
    new_change, new_shares = _change(run.recognizer, grown, speech.threshold, new_test)
    old_change, old_shares = _change(run.recognizer, grown, speech.threshold, old_test)
    added = [
        AddedExpert(layer=layer, name=name, new=share, old=old_shares[layer, name])
        for (layer, name), share in new_shares.items()
        if name not in run.recognizer.routed_layer(layer)[1]
    ]
    return GrowthDocument(
        version=1,
        corpus=speech.corpus,
        threshold=speech.threshold,
        utterances=len(speech.train),
        badly_served=len(speech.badly_served),
        clusters=clusters,
        experts=added,
        new=new_change,
        old=old_change,
    )


Shares = dict[tuple[str | None, str], float]


def _change(
    before: Recognizer, after: Recognizer, threshold: float, examples: Sequence[Example]
) -> tuple[Change, Shares]:
    """Errors before and after, and the share of each expert in the routing after."""
    sparse = [] if after.encoder is None else after.encoder.sparse_layers
    layers: list[str | None] = [layer.name for layer in sparse] or [None]
    sums: dict[str | None, NDArray[np.float64]] = {}
    scores, bad = [], []
    for recognizer in (before, after):
        by_utterance = {}
        sums = {}
        with torch.no_grad():
            for utterance in recognize_split(recognizer, examples, layers=layers):
                example = utterance.example
                by_utterance[example.utterance] = score_utterance(
                    example.phonemes, utterance.hypothesis
                )
                for layer, weights in utterance.weights.items():
                    sums[layer] = sums.get(layer, 0.0) + weights.sum(axis=0, dtype=np.float64)
        scores.append([by_utterance[example.utterance] for example in examples])
        bad.append(int(measure_served(recognizer, examples).is_bad(threshold).sum()))
    shares = {
        (layer, name): float(share)
        for layer, total in sums.items()
        for name, share in zip(after.routed_layer(layer)[1], total / total.sum(), strict=True)
    }
    change = Change(
        utterances=len(examples),
        before=total_score(scores[0]).error_rate,
        after=total_score(scores[1]).error_rate,
        interval=list(paired_difference(*scores).interval),
        badly_served_before=bad[0],
        badly_served_after=bad[1],
    )
    return change, shares
