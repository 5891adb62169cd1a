"""Speakers of a split: one rule for every command that evaluates on a split."""

from __future__ import annotations

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe


def split_speakers(
    recipe: Recipe, corpus: PreparedCorpus, recognizer: Recognizer | None = None
) -> tuple[str, ...]:
    """Speakers on which a run is evaluated in a split.

    On the corpus of its recipe, the speakers that the recipe names, held-out ones included; on any
    other corpus, all.

    Args:
        recipe: Recipe of the run.
        corpus: The corpus of the split.
        recognizer: Where its gate is the speaker's identity, speakers without an expert are left
            out; they are kept when no recognizer is given.

    Returns:
        Names in the corpus's order.

    Raises:
        InputError: No speaker is left.
    """
    section = recipe.corpus
    speakers = corpus.speakers
    if corpus.name == section.name and section.speakers is not None:
        named = {*section.speakers, *section.held_out_speakers}
        speakers = tuple(name for name in speakers if name in named)
        if not speakers:
            raise InputError(
                f"corpus {corpus.name}: found none of the speakers that the recipe names "
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
