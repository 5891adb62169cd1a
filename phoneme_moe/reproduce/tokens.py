"""Tokens of 150 ms cut out around a phoneme's onset, as the nets of 1989 are shown them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from phoneme_moe.corpora import ensure_corpus
from phoneme_moe.recipe import Recipe
from phoneme_moe.recognizer import Recognizer
from phoneme_moe.training.data import corpus_phonemes, corpus_speakers, load_examples


@dataclass(frozen=True, eq=False)
class Tokens:
    """Excised tokens of one split.

    Attributes:
        features: Log mel features, shape (tokens, frames, bands).
        phoneme: Index into ``phonemes``, shape (tokens,).
        speaker: Index into ``speakers``, shape (tokens,).
        phonemes: The classes.
        speakers: The speakers.
    """

    features: Tensor
    phoneme: Tensor
    speaker: Tensor
    phonemes: tuple[str, ...]
    speakers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.phoneme)

    def where(self, chosen: Tensor) -> Tokens:
        """The tokens that a boolean mask or an array of indices names, shape (tokens,)."""
        return Tokens(
            self.features[chosen],
            self.phoneme[chosen],
            self.speaker[chosen],
            self.phonemes,
            self.speakers,
        )

    def of(self, speakers: tuple[str, ...]) -> Tokens:
        """The tokens of some speakers, who are then the only ones."""
        numbers = torch.tensor([self.speakers.index(name) for name in speakers])
        chosen = (self.speaker[:, None] == numbers).nonzero()
        own = self.where(chosen[:, 0])
        return Tokens(own.features, own.phoneme, chosen[:, 1], self.phonemes, speakers)


@cache
def excise(recipe: Recipe, split: str) -> Tokens:
    """Cuts the tokens that a recipe of the task ``classify`` names.

    Args:
        recipe: Says which corpus, speakers and phonemes, how much noise, and where a token begins.
        split: ``train``, ``dev`` or ``test``.

    Raises:
        InputError: The corpus cannot be prepared or has no such tokens.
    """
    corpus = ensure_corpus(recipe.corpus.name)
    phonemes = corpus_phonemes(recipe, corpus)
    speakers = corpus_speakers(recipe, corpus)
    recognizer = Recognizer(recipe.features, recipe.task, recipe.model, phonemes, speakers)
    examples = load_examples(recipe, corpus, split, recognizer, speakers)
    return Tokens(
        torch.stack([example.features for example in examples]),
        torch.tensor([phonemes.index(example.phonemes[0]) for example in examples]),
        torch.tensor([speakers.index(example.speaker) for example in examples]),
        phonemes,
        speakers,
    )
