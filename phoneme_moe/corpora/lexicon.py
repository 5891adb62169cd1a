"""Pronunciation lexicons in CMUdict format (``WORD  P1 P2 P3``), and ARPABET."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from phoneme_moe.corpora.tables import Entry, read_lines
from phoneme_moe.errors import InputError

_SYMBOLS = """
AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K
L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH
"""
ARPABET = frozenset(_SYMBOLS.split())
"""The 39 phonemes of CMUdict."""
_MARKS = re.compile(r"(?P<phoneme>[A-Z]+)[0-2]?(?:_[BIES])?")
MAX_PHONEMES = 200
"""Maximum number of phonemes of a language; texts with more symbols must be words."""
_ALTERNATIVE = re.compile(r"(.+)\([0-9]+\)")


def fold_arpabet(symbol: str) -> str:
    """Removes stress and position marks of ARPABET: ``"IH1_B"`` becomes ``"IH"``."""
    match = _MARKS.fullmatch(symbol)
    return match["phoneme"] if match and match["phoneme"] in ARPABET else symbol


def read_lexicon(file: Path) -> dict[str, tuple[str, ...]]:
    """Reads a lexicon with the first pronunciation of each word.

    ``;;;`` starts a comment line, `` #`` a comment after the phonemes; stress digits are removed;
    alternatives (``WORD(2)``) are ignored.

    Returns:
        Phonemes by word in capitals.

    Raises:
        InputError: A word has no phonemes, or the file cannot be read.
    """
    lexicon: dict[str, tuple[str, ...]] = {}
    for word, phonemes, alternative in _pronunciations(file):
        if not alternative:
            lexicon.setdefault(word.upper(), phonemes)
    return lexicon


def read_pronunciations(file: Path) -> dict[str, list[tuple[str, ...]]]:
    """Reads a lexicon with all pronunciations of each word, in order.

    Returns:
        Pronunciations by word in lower case.

    Raises:
        InputError: As for ``read_lexicon``.
    """
    lexicon: dict[str, list[tuple[str, ...]]] = {}
    for word, phonemes, _ in _pronunciations(file):
        pronunciations = lexicon.setdefault(_ALTERNATIVE.sub(r"\1", word).lower(), [])
        if phonemes not in pronunciations:
            pronunciations.append(phonemes)
    return lexicon


def _pronunciations(file: Path) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yields each word as written, its phonemes, and whether the entry is an alternative."""
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
    """Converts texts to phonemes with a lexicon.

    Args:
        texts: Words of each utterance.
        lexicon: Phonemes by word in capitals.
        file: The file with the texts, for error messages.

    Raises:
        InputError: Words are not in the lexicon; the message names the first ones.
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
    """Checks that sequences consist of phonemes, not of words.

    Raises:
        InputError: There are more than ``MAX_PHONEMES`` different symbols.
    """
    symbols = {symbol for sequence in sequences for symbol in sequence}
    if len(symbols) > MAX_PHONEMES:
        raise InputError(
            f"{file}: found {len(symbols)} different symbols, which are probably words; expected "
            "phonemes, or for the corpus 'kaldi' a lexicon as well"
        )
