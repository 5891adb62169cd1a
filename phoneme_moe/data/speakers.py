"""Speakers of a split, as used by all commands that evaluate on a split."""

from __future__ import annotations

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe


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
