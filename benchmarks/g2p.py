"""Errors of guessed pronunciations, on words that the model has not seen.

``python -m benchmarks.g2p --lexicon FILE``, with CMUdict for the figures that are kept. One word in
twenty, chosen by the SHA-256 of its spelling, is taken out of the lexicon with all its
pronunciations, and guessed from the others, or from fewer of them. The guess is compared with the
closest pronunciation.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rapidfuzz.distance import Levenshtein

from benchmarks import page, results
from benchmarks.results import table
from phoneme_moe.corpora.g2p import GraphemeToPhoneme
from phoneme_moe.corpora.lexicon import Pronunciation, read_lexicon

SIZES = (1_000, 10_000, None)
"""Numbers of words of the lexicon that is learnt from; None for all."""

Words = Mapping[str, Sequence[Pronunciation]]


def held_out(word: str) -> bool:
    """Whether a word is one of those that are guessed."""
    return _rank(word) % 20 == 0


def errors(model: GraphemeToPhoneme, words: Words) -> dict[str, float]:
    """Errors of the guesses, in per cent; a word without a guess counts as deleted.

    Returns:
        ``per``, phoneme errors per phoneme; ``wer``, words with an error; ``no_guess``, words.
    """
    wrong = total = wrong_words = no_guess = 0
    for word, pronunciations in words.items():
        guess = model.pronounce(word)
        distance, closest = min((Levenshtein.distance(guess or (), p), p) for p in pronunciations)
        wrong += distance
        total += len(closest)
        wrong_words += distance > 0
        no_guess += guess is None
    return {
        "per": 100 * wrong / total,
        "wer": 100 * wrong_words / len(words),
        "no_guess": no_guess,
    }


def measure(lexicon: Path) -> dict[str, Any]:
    """The figures of the page for a lexicon."""
    words: dict[str, list[Pronunciation]] = {}
    for word, phonemes in read_lexicon(lexicon).entries():
        if word[0].isalpha() and not any(map(str.isdigit, word)):
            words.setdefault(word, []).append(phonemes)
    test = {word: known for word, known in words.items() if held_out(word)}
    training = sorted(words.keys() - test.keys(), key=_rank)
    rows = []
    for size in SIZES:
        start = time.process_time()
        model = GraphemeToPhoneme((word, p) for word in training[:size] for p in words[word])
        trained = time.process_time()
        row = {"words": len(training[:size]), **errors(model, test)}
        row["training_seconds"] = trained - start
        row["milliseconds"] = 1000 * (time.process_time() - trained) / len(test)
        rows.append(row)
    return {"lexicon": lexicon.name, "test_words": len(test), "rows": rows}


def section(figures: dict[str, Any]) -> str:
    """The section of the page."""
    head = ["words learnt from", "PER, %", "WER, %", "training, s of CPU", "a word, ms"]
    rows = [
        [
            f"{row['words']:,}",
            *(f"{row[key]:.1f}" for key in ("per", "wer", "training_seconds", "milliseconds")),
        ]
        for row in figures["rows"]
    ]
    return (
        "## Guessed pronunciations\n\n`corpora prepare --unknown-words g2p` guesses words that the "
        "lexicon does not have by a joint n-gram of letters and phonemes\n"
        "(`phoneme_moe/corpora/g2p`; `python -m benchmarks.g2p --lexicon FILE`). "
        f"{figures['test_words']:,} words of CMUdict (`{figures['lexicon']}`), one in twenty\n"
        "by the hash of their spelling, were guessed from the other words, or from fewer of them; "
        "the closest pronunciation counts.\n\n" + table(head, rows)
    )


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--lexicon", type=Path, required=True, help="CMUdict")
    results.keep("g2p", measure(parser.parse_args().lexicon))
    page.write()


def _rank(word: str) -> int:
    return int(hashlib.sha256(word.encode()).hexdigest(), 16)


if __name__ == "__main__":
    main()
