"""The phoneme n-gram of beam search: of the training utterances, and of text if there is some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from phoneme_moe.corpora.text import read_phoneme_text
from phoneme_moe.decoding.ngram import PhonemeNgram, TextNgram
from phoneme_moe.decoding.ngram_counts import count_ngrams
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import InputError
from phoneme_moe.recipe import LanguageModel

Sequences = Sequence[Sequence[str]]

NGRAM_ORDER = 6

MAX_NGRAMS = 300_000
"""Most distinct n-grams of the highest order, some megabytes of ``decoding.json``. On much speech
the order is lower instead: reading the longer ones would take seconds (0.2 s for 100,000)."""

TEXT_ORDER = 5

MAX_TEXT_NGRAMS = 300_000
"""Most distinct n-grams of text; of more, those that are seen most often are kept."""

TEXT_WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Candidates for the share of the text."""


def estimate_ngram(references: Sequences, symbols: tuple[str, ...]) -> PhonemeNgram:
    """The longest n-gram of training utterances that is not too large.

    Args:
        references: Phonemes of each utterance.
        symbols: The phoneme set.
    """
    for order in range(NGRAM_ORDER, 1, -1):
        ngram = PhonemeNgram.estimate(references, symbols, order)
        if len(ngram.counts) <= MAX_NGRAMS:
            return ngram
    return ngram


def read_text(section: LanguageModel, phonemes: PhonemeSet) -> list[tuple[str, ...]]:
    """Reads the text of a recipe in the phonemes of a model.

    Args:
        section: Section ``task.language_model``.
        phonemes: The phoneme set.

    Raises:
        InputError: The text or its lexicon cannot be used, or has a phoneme that the model lacks.
    """
    sentences = read_phoneme_text(section.text, section.lexicon, section.unknown_words)
    spelled = [phonemes.spell(sentence) for sentence in sentences]
    known = set(phonemes.symbols)
    for sentence in spelled:
        for phoneme in sentence:
            if phoneme not in known:
                source = section.text if section.lexicon is None else section.lexicon
                raise InputError(
                    f"task.language_model: {source}: found the phoneme {phoneme!r}, expected those "
                    f"of the model: {', '.join(phonemes.symbols[:12])}, ..."
                )
    return spelled


def interpolate_text(ngram: PhonemeNgram, text: Sequences, dev: Sequences) -> PhonemeNgram:
    """Interpolates an n-gram with that of text, at the weight of the least perplexity of dev.

    Args:
        ngram: N-gram of the training utterances.
        text: Phonemes of the sentences.
        dev: Phonemes of the dev utterances.

    Returns:
        The n-gram of both; the given one, if it has the least perplexity alone.
    """
    counts = count_ngrams(text, ngram.symbols, TEXT_ORDER)
    if len(counts) > MAX_TEXT_NGRAMS:
        # The fewest times that leave no more.
        times = np.sort(np.fromiter(counts.values(), np.int64))[::-1]
        fewest = int(times[MAX_TEXT_NGRAMS]) + 1
        counts = {gram: count for gram, count in counts.items() if count >= fewest}
    alone = ngram.perplexity(dev)
    candidates = [
        replace(ngram, text=TextNgram(TEXT_ORDER, counts, weight)) for weight in TEXT_WEIGHTS
    ]
    best = min(candidates, key=lambda candidate: candidate.perplexity(dev))
    return best if best.perplexity(dev) < alone else ngram
