"""Tokens of 150 ms cut out around a phoneme's onset, the inputs of the nets of 1989."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from phoneme_moe.corpora import ensure_corpus
from phoneme_moe.data.examples import corpus_phonemes, load_examples
from phoneme_moe.data.speakers import corpus_speakers
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, load_recipe


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
        """The tokens of some speakers, renumbered in the order given."""
        numbers = torch.tensor([self.speakers.index(name) for name in speakers])
        chosen = (self.speaker[:, None] == numbers).nonzero()
        subset = self.where(chosen[:, 0])
        return Tokens(subset.features, subset.phoneme, chosen[:, 1], self.phonemes, speakers)


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


def speaker_errors(scores: Tensor, tokens: Tokens) -> dict[str, float]:
    """Error of each speaker's tokens, in per cent.

    Args:
        scores: Of the classes, shape (tokens, classes).
        tokens: The phoneme and speaker of each token.
    """
    wrong = 100 * (scores.argmax(dim=-1) != tokens.phoneme).float()
    return {
        name: float(wrong[tokens.speaker == number].mean())
        for number, name in enumerate(tokens.speakers)
    }


DIGIT_PHONEMES = (
    "AH", "AO", "AY", "EH", "EY", "F", "IH", "IY", "K", "N", "OW", "R", "S", "T", "TH", "UW", "V",
    "W", "Z",
)  # fmt: skip
"""All phonemes of the ten words: at least 35 training tokens of each by each speaker."""


_DIGITS = (
    "corpus.snr_db=null",
    "features.sample_rate=8000",
    "task.onset_ms=30",
    f"task.phonemes=[{', '.join(DIGIT_PHONEMES)}]",
)
OVERRIDES: Mapping[str, tuple[str, ...]] = {
    "announcers": ("task.onset_ms=30", "corpus.snr_db=6"),
    "fsdd": ("corpus.name=fsdd-aligned", *_DIGITS),
    "fsdd, quick": ("corpus.name=fsdd-aligned-quickly", *_DIGITS),
}
"""By corpus: what differs from the recipe ``hampshire_waibel``."""


def corpus_key(digits: bool, quick: bool) -> str:
    """Key in ``OVERRIDES``: announcers, or real digits, hastily aligned in the quick form."""
    if not digits:
        return "announcers"
    return "fsdd, quick" if quick else "fsdd"


def load_tokens(corpus: str, split: str) -> Tokens:
    """The tokens of a corpus.

    Args:
        corpus: A key of ``OVERRIDES``.
        split: ``train``, ``dev`` or ``test``.
    """
    return excise(load_recipe("hampshire_waibel", OVERRIDES[corpus]), split)


def prepare_digits(quick: bool) -> None:
    """Aligns FSDD with its phonemes, unless that is done already.

    Args:
        quick: Whether poor times will do, from an aligner trained in seconds on FSDD alone.

    Raises:
        InputError: FSDD or, except for the quick form, speechocean762 is not prepared.
    """
    from phoneme_moe_reproductions.alignment import Aligner, aligned_corpus

    if quick:
        aligned_corpus("fsdd", Aligner(epochs=1), "fsdd-aligned-quickly")
    else:
        aligned_corpus("fsdd", Aligner(company="speechocean762"))


def prepare_announcers(quick: bool) -> None:
    """Synthesises the announcers, unless that is done already, before jobs run in parallel.

    Args:
        quick: Makes no difference.
    """
    ensure_corpus("announcers")
