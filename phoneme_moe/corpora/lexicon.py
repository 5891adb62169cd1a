"""Pronunciation dictionaries in CMUdict form: ``WORD  P1 P2 P3``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from phoneme_moe.corpora.arpabet import fold_arpabet
from phoneme_moe.corpora.tables import Entry, read_lines
from phoneme_moe.errors import InputError

MAX_PHONEMES = 200
"""More different symbols than a language has phonemes: the text must be words."""
_ALTERNATIVE = re.compile(r"(.+)\([0-9]+\)")


def read_lexicon(file: Path) -> dict[str, tuple[str, ...]]:
    """Reads a dictionary; the first pronunciation of a word counts.

    ``;;;`` starts a comment line, ``#`` after the phonemes a remark; stress digits are folded
    away; ``WORD(2)`` lines are alternatives and ignored.

    Returns:
        Word, in capitals, to phonemes.

    Raises:
        InputError: A line has a word without phonemes, or the file cannot be read.
    """
    lexicon: dict[str, tuple[str, ...]] = {}
    for word, phonemes, alternative in _pronunciations(file):
        if not alternative:
            lexicon.setdefault(word.upper(), phonemes)
    return lexicon


def read_pronunciations(file: Path) -> dict[str, list[tuple[str, ...]]]:
    """Reads a dictionary with all pronunciations of a word, in order.

    Returns:
        Word, in small letters, to pronunciations.

    Raises:
        InputError: As ``read_lexicon``.
    """
    lexicon: dict[str, list[tuple[str, ...]]] = {}
    for word, phonemes, _ in _pronunciations(file):
        several = lexicon.setdefault(_ALTERNATIVE.sub(r"\1", word).lower(), [])
        if phonemes not in several:
            several.append(phonemes)
    return lexicon


def _pronunciations(file: Path) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Words as they stand, their phonemes, and whether it is marked as an alternative."""
    for line, where in read_lines(file):
        if line.startswith(";;;"):
            continue
        word, *symbols = line.split(" #")[0].split()
        if not symbols:
            raise InputError(f"{where}: expected 'WORD  P1 P2 ...', found {line!r}")
        alternative = _ALTERNATIVE.fullmatch(word) is not None
        yield word, tuple(map(fold_arpabet, symbols)), alternative


def pronounce(
    texts: Mapping[str, Entry], lexicon: Mapping[str, tuple[str, ...]], file: Path
) -> dict[str, tuple[str, ...]]:
    """The phonemes of each text, word by word from the dictionary.

    Args:
        texts: Utterance to its words.
        lexicon: Word, in capitals, to phonemes.
        file: The file of the texts, for the error message.

    Raises:
        InputError: Words are not in the dictionary; says how many and which come first.
    """
    missing: dict[str, str] = {}
    phonemes = {}
    for id, entry in texts.items():
        sequence: list[str] = []
        for word in entry.value.split():
            if word.upper() not in lexicon:
                missing.setdefault(word, entry.where)
            sequence += lexicon.get(word.upper(), ())
        phonemes[id] = tuple(sequence)
    if missing:
        first = ", ".join(list(missing)[:5])
        raise InputError(
            f"{file}: {len(missing)} words are not in the lexicon: {first}"
            f"{', ...' if len(missing) > 5 else ''} (first at {next(iter(missing.values()))})"
        )
    return phonemes


def refuse_words(sequences: Iterable[tuple[str, ...]], file: Path) -> None:
    """Stops a user who gave words where phonemes are expected.

    Raises:
        InputError: There are more different symbols than a language has phonemes.
    """
    symbols = {symbol for sequence in sequences for symbol in sequence}
    if len(symbols) > MAX_PHONEMES:
        raise InputError(
            f"{file}: found {len(symbols)} different symbols, which seem to be words; expected "
            "phonemes, or for the corpus 'kaldi' a lexicon as well"
        )
