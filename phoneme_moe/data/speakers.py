"""Speakers of a recipe: all of them, those with an expert, those of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe


def corpus_speakers(recipe: Recipe, corpus: PreparedCorpus) -> tuple[str, ...]:
    """Returns the speakers of training and dev, in the order of the corpus.

    Raises:
        InputError: A speaker of the recipe is not in the corpus.
    """
    wanted = recipe.corpus.speakers
    for name in (*(wanted or ()), *recipe.corpus.held_out_speakers):
        if name not in corpus.speakers:
            raise InputError(
                f"corpus.speakers: {corpus.name} has no speaker {name!r}"
                f"{suggest(name, corpus.speakers)}"
            )
    chosen = corpus.speakers if wanted is None else wanted
    speakers = tuple(s for s in chosen if s not in recipe.corpus.held_out_speakers)
    if not speakers:
        raise InputError("corpus.held_out_speakers: no speaker remains for training")
    return speakers


def expert_speakers(recipe: Recipe, corpus: PreparedCorpus) -> tuple[str, ...]:
    """Returns the speakers who have an expert: those of training, in the order of the corpus.

    Raises:
        InputError: As for ``corpus_speakers``, or none of them is in the training split.
    """
    speakers = corpus_speakers(recipe, corpus)
    names = _in_split(speakers, corpus, "train")
    if not names:
        raise InputError(
            f"corpus {corpus.name}: the train split has none of the speakers {', '.join(speakers)}"
        )
    return names


def require_dev_speakers(recipe: Recipe, corpus: PreparedCorpus) -> None:
    """Checks that dev has speakers with an expert, where it is decoded or scored by them.

    Raises:
        InputError: It does not.
    """
    model = recipe.model
    dev = _in_split(corpus_speakers(recipe, corpus), corpus, "dev")
    unseen = sorted({*dev} - {*expert_speakers(recipe, corpus)})
    if unseen and model.gate is not None and model.gate.kind == "speaker":
        raise InputError(
            "model.gate is of kind speaker, and no expert is trained for a speaker of dev: found "
            f"{unseen[0]!r}, expected speakers of training (corpus {corpus.name})"
        )
    for stage in recipe.training.stages:
        if stage.objective == "speaker" and stage.keep == "best" and len(unseen) == len(dev):
            raise InputError(
                f"training.stages.{stage.name}.keep: found best, the epoch in which the gate knows "
                f"most speakers of dev, but none of them is in training (corpus {corpus.name}); "
                "expected last"
            )


def _in_split(speakers: Sequence[str], corpus: PreparedCorpus, split: str) -> tuple[str, ...]:
    """Those of the speakers who have utterances in a split."""
    present = {cut.supervisions[0].speaker for cut in corpus.iter_cuts(split)}
    return tuple(name for name in speakers if name in present)


def split_speakers(
    recipe: Recipe, corpus: PreparedCorpus, recognizer: Recognizer | None = None
) -> tuple[str, ...]:
    """Returns the speakers on which a run is evaluated.

    On the corpus of its recipe, these are the speakers of the recipe, including held-out ones; on
    any other corpus, all speakers.

    Args:
        recipe: Recipe of the run.
        corpus: The corpus of the split.
        recognizer: The model; if its gate is the speaker's identity, speakers without an expert are
            excluded.

    Returns:
        Names in the order of the corpus.

    Raises:
        InputError: No speaker remains.
    """
    section = recipe.corpus
    speakers = corpus.speakers
    if corpus.name == section.name and section.speakers is not None:
        named = {*section.speakers, *section.held_out_speakers}
        speakers = tuple(name for name in speakers if name in named)
        if not speakers:
            raise InputError(
                f"corpus {corpus.name}: found none of the speakers of the recipe "
                f"({', '.join(sorted(named))})"
            )
    if recognizer is not None and recognizer.gate_is_speaker:
        speakers = tuple(name for name in speakers if name in recognizer.expert_names)
        if not speakers:
            raise InputError(
                f"corpus {corpus.name}: model.gate is of kind speaker, and no speaker has an "
                f"expert: found {', '.join(recognizer.expert_names)}"
            )
    return speakers
