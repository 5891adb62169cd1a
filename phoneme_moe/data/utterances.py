"""Utterances of a split that a recipe uses, by its settings ``corpus``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.splits import limit_utterances
from phoneme_moe.recipe import Recipe

if TYPE_CHECKING:
    from lhotse.cut import Cut


def split_cuts(
    recipe: Recipe, corpus: PreparedCorpus, split: str, speakers: Collection[str]
) -> list[Cut]:
    """Returns the utterances of a split, ``corpus.max_utterances`` of each speaker.

    Args:
        recipe: The recipe.
        corpus: The prepared corpus.
        split: ``train``, ``dev`` or ``test``.
        speakers: Speakers to use.
    """
    return list(iter_split_cuts(recipe, corpus, split, speakers))


def iter_split_cuts(
    recipe: Recipe, corpus: PreparedCorpus, split: str, speakers: Collection[str]
) -> Iterable[Cut]:
    """As ``split_cuts``; without ``max_utterances``, one cut at a time is in memory."""
    wanted = set(speakers)
    cuts = (cut for cut in corpus.iter_cuts(split) if cut.supervisions[0].speaker in wanted)
    most = recipe.corpus.max_utterances
    return cuts if most is None else limit_utterances(cuts, most)
