"""Pronunciations of words that a lexicon does not have, learnt from the words that it has."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import numpy as np

from phoneme_moe.corpora.g2p.alignment import MAX_LETTERS, align
from phoneme_moe.corpora.g2p.ngram import END, NGram
from phoneme_moe.corpora.words import fold_word

VERSION = 1
"""Changes whenever the same lexicon would give other pronunciations."""
ORDER = 8
BEAM = 32


class GraphemeToPhoneme:
    """A joint n-gram model of letters and phonemes (Bisani & Ney 2008).

    Each word of the lexicon becomes a sequence of graphones, letters with their phonemes
    (``alignment.py``), and an n-gram model gives the probability of a sequence. The pronunciation
    of another word is that of the most probable sequence with its letters, by beam search.
    """

    def __init__(self, entries: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """Estimates the model; takes about six seconds for the 130,000 words of CMUdict.

        Args:
            entries: Words with their phonemes; a word may occur several times. Words with digits,
                brackets or other signs are not used.
        """
        folded = [(fold_word(word), phonemes) for word, phonemes in entries]
        aligned = align([(word, phonemes) for word, phonemes in folded if _is_spelt(word)])
        graphones = sorted({graphone for word in aligned for graphone in word})
        numbers = {graphone: number for number, graphone in enumerate(graphones, END + 1)}
        self._phonemes = [(), (), *(phonemes for _, phonemes in graphones)]
        by_letter: dict[str, list[int]] = {}
        for (letter, _), number in numbers.items():
            by_letter.setdefault(letter, []).append(number)
        self._by_letter = {letter: np.array(them) for letter, them in by_letter.items()}
        sequences = [[numbers[graphone] for graphone in word] for word in aligned]
        self._ngram = NGram(sequences, len(graphones) + 2, ORDER) if sequences else None

    def pronounce(self, word: str) -> tuple[str, ...] | None:
        """The most probable pronunciation of a word.

        Args:
            word: The word, in any case. A letter that no word of the lexicon has is read without
                its accents.

        Returns:
            The phonemes, or None if a character occurs in no word of the lexicon, all letters are
            probably silent, or there are more than ``MAX_LETTERS``.
        """
        letters = "".join(map(self._known, fold_word(word)))
        if (
            self._ngram is None
            or not 0 < len(letters) <= MAX_LETTERS
            or not all(letter in self._by_letter for letter in letters)
        ):
            return None
        histories = self._ngram.start()
        scores = np.zeros(1)
        paths = np.zeros((1, 0), dtype=np.int64)
        for letter in letters:
            graphones = self._by_letter[letter]
            rows = np.repeat(np.arange(len(scores)), len(graphones))
            symbols = np.tile(graphones, len(scores))
            log_probabilities, extended = self._ngram.score(histories[rows], symbols)
            total = scores[rows] + log_probabilities
            best = np.argsort(-total, kind="stable")[:BEAM]
            scores, histories = total[best], extended[best]
            paths = np.column_stack([paths[rows[best]], symbols[best]])
        ends, _ = self._ngram.score(histories, np.full(len(scores), END))
        path = paths[np.argmax(scores + ends)].tolist()
        return tuple(p for graphone in path for p in self._phonemes[graphone]) or None

    def _known(self, letter: str) -> str:
        if letter in self._by_letter:
            return letter
        return "".join(c for c in unicodedata.normalize("NFD", letter) if not _is_mark(c))


def _is_spelt(word: str) -> bool:
    """Whether a word consists of letters and their marks, and perhaps ``'``, ``.`` and ``-``."""
    return any(map(str.isalpha, word)) and all(
        c.isalpha() or _is_mark(c) or c in "'.-" for c in word
    )


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")
