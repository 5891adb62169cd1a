"""Pronunciation lexicons in the formats of CMUdict, Kaldi and MFA, and ARPABET."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from phoneme_moe.corpora.notes import Notes
from phoneme_moe.corpora.tables import Entry, read_lines
from phoneme_moe.corpora.words import fold_word, is_symbol, normalise_word, spellings
from phoneme_moe.errors import InputError
from phoneme_moe.notation.normal_form import normalize_phoneme

if TYPE_CHECKING:
    from phoneme_moe.corpora.g2p import GraphemeToPhoneme

_SYMBOLS = """
AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K
L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH
"""
ARPABET = frozenset(_SYMBOLS.split())
"""The 39 phonemes of CMUdict."""
_MARKS = re.compile(r"(?P<phoneme>[A-Z]+)[0-2]?(?:_[BIES])?")
MAX_PHONEMES = 200
"""Maximum number of phonemes of a language; texts with more symbols must be words."""
UNKNOWN_WORDS = ("refuse", "skip", "g2p")
"""What may be done about words outside a lexicon: an error, their utterances left out, or a guess
of their pronunciation."""
MAX_PROBABILITIES = 4
"""Most columns of probabilities of MFA."""
_ALTERNATIVE = re.compile(r"(.+)\([0-9]+\)")
_COMMENT = re.compile(r"\s#")
_DECIMAL = re.compile(r"[0-9]+\.[0-9]+(?:[eE]-?[0-9]+)?")
_NO_PHONEME = re.compile(r"[0-9]+[.,][0-9].*")

Pronunciation = tuple[str, ...]
Pronunciations = tuple[tuple[Pronunciation, ...], ...]
"""The pronunciations of each word of an utterance, in order."""


@lru_cache(maxsize=4096)
def fold_arpabet(symbol: str) -> str:
    """Removes stress and position marks of ARPABET: ``"IH1_B"`` becomes ``"IH"``."""
    match = _MARKS.fullmatch(symbol)
    return match["phoneme"] if match and match["phoneme"] in ARPABET else symbol


@dataclass(frozen=True)
class SpokenWord:
    """A word of a text with its pronunciations.

    Attributes:
        word: The word in lower case, without punctuation around it.
        pronunciations: Its pronunciations in the order of the lexicon; empty if it is unknown.
    """

    word: str
    pronunciations: tuple[Pronunciation, ...]


class Lexicon:
    """Pronunciations by word; the same lookup for every command."""

    def __init__(self, entries: Iterable[tuple[str, Pronunciation]]) -> None:
        """Creates a lexicon.

        Args:
            entries: Words with their phonemes; a word occurs once for each pronunciation.
        """
        self._exact: dict[str, list[Pronunciation]] = {}
        self._folded: dict[str, list[Pronunciation]] = {}
        for word, phonemes in entries:
            normal = normalise_word(word)
            for table, key in ((self._exact, normal), (self._folded, fold_word(normal))):
                known = table.setdefault(key, [])
                if phonemes not in known:
                    known.append(phonemes)

    def __len__(self) -> int:
        return len(self._exact)

    def entries(self) -> Iterator[tuple[str, Pronunciation]]:
        """Every word, regardless of case, with each of its pronunciations."""
        return ((word, phonemes) for word, known in self._folded.items() for phonemes in known)

    def spoken_words(self, text: str) -> list[SpokenWord]:
        """Looks up the words of a text.

        An entry in the same case has precedence; otherwise a word has the pronunciations of all
        entries that differ in case alone. Mere punctuation is left out, unless it has an entry.

        Args:
            text: Words separated by white space.
        """
        words = []
        for token in text.split():
            forms = spellings(token)
            found = next((p for form in forms if (p := self._find(form))), ())
            if found or forms[-1]:
                words.append(SpokenWord((forms[-1] or forms[0]).lower(), tuple(found)))
        return words

    def guess(self, word: str) -> Pronunciation | None:
        """Guesses the pronunciation of a word from those of the others (``g2p``).

        The parts of a word with hyphens are looked up, and only the unknown ones guessed.

        Args:
            word: A word that is not in the lexicon.

        Returns:
            The phonemes; None if the word has characters that the lexicon does not have.
        """
        parts = [part for part in word.split("-") if part]
        found = [next(iter(self._find(part)), None) or self._g2p.pronounce(part) for part in parts]
        known = [pronunciation for pronunciation in found if pronunciation]
        return tuple(p for part in known for p in part) if len(known) == len(found) > 0 else None

    @cached_property
    def _g2p(self) -> GraphemeToPhoneme:
        from phoneme_moe.corpora.g2p import GraphemeToPhoneme

        return GraphemeToPhoneme(self.entries())

    def _find(self, form: str) -> list[Pronunciation]:
        return self._exact.get(form) or self._folded.get(fold_word(form)) or []


def read_lexicon(file: Path) -> Lexicon:
    """Reads a lexicon with lines of a word and its phonemes, separated by tabs or spaces.

    ``;;;`` starts a comment line, `` #`` a comment after the phonemes. Further pronunciations of a
    word are lines with the same word, or with ``WORD(2)``. Up to four decimals with a point before
    the phonemes are the probabilities of MFA and Kaldi; whole numbers are phonemes (X-SAMPA has
    ``1``, ``2``, ``9``). Stress digits of ARPABET are removed.

    Raises:
        InputError: The file cannot be read, a word has no phonemes, or a number is neither a
            phoneme nor a probability; the message names the line.
    """
    lines = [_Line.parse(line, where) for line, where in read_lines(file) if line[:3] != ";;;"]
    columns = max((line.num_probabilities for line in lines), default=0)
    return Lexicon((line.word, line.phonemes(columns)) for line in lines)


@dataclass(frozen=True)
class _Line:
    word: str
    symbols: list[str]
    num_probabilities: int
    where: str

    @classmethod
    def parse(cls, line: str, where: str) -> _Line:
        entry = _COMMENT.split(line, maxsplit=1)[0]
        word, *symbols = entry.split()
        # Kaldi writes a probability between the word and the tab.
        before_tab = entry.partition("\t")[0].split() if "\t" in entry else [word]
        if not all(map(_DECIMAL.fullmatch, before_tab[1:])):
            found = " ".join(before_tab)
            raise InputError(f"{where}: found {found[:80]!r} before the tab, expected one word")
        num_probabilities = 0
        while num_probabilities < len(symbols) and _DECIMAL.fullmatch(symbols[num_probabilities]):
            num_probabilities += 1
        if len(symbols) == num_probabilities or num_probabilities > MAX_PROBABILITIES:
            raise InputError(
                f"{where}: expected 'WORD P1 P2 ...', with up to {MAX_PROBABILITIES} probabilities "
                f"before the phonemes, found {line[:80]!r}"
            )
        match = _ALTERNATIVE.fullmatch(word)
        return cls(match[1] if match else word, symbols, num_probabilities, where)

    def phonemes(self, columns: int) -> Pronunciation:
        """The phonemes, in a lexicon with as many columns of probabilities."""
        symbols = self.symbols[self.num_probabilities :]
        numbers = [s for s in symbols if s[0].isdigit() and _NO_PHONEME.fullmatch(s)]
        # Where other lines have a probability in this place, a whole number may be one, too.
        if columns > self.num_probabilities and symbols[0] in {"0", "1"}:
            numbers = symbols[:1]
        if numbers:
            raise InputError(
                f"{self.where}: found {numbers[0]!r} among the phonemes; expected probabilities "
                "before them, as decimals with a point, such as 1.0"
            )
        return tuple(normalize_phoneme(fold_arpabet(symbol)) for symbol in symbols)


def pronounce(
    texts: Mapping[str, Entry], lexicon: Lexicon, file: Path, unknown_words: str, notes: Notes
) -> dict[str, Pronunciations]:
    """Looks up the pronunciations of the words of texts.

    Args:
        texts: Words of each utterance.
        lexicon: The lexicon.
        file: The file or folder with the texts, for error messages.
        unknown_words: What is done about words outside the lexicon: one of ``UNKNOWN_WORDS``.
            Utterances with words that cannot be guessed are left out.
        notes: Receives the words that were guessed, and those for which utterances are left out.

    Raises:
        InputError: Words are not in the lexicon and refused; the message names the first ones. Or
            the symbols of the lexicon cannot be phonemes.
    """
    missing: dict[str, str] = {}
    guesses: dict[str, Pronunciation | None] = {}
    guessed: Counter[str] = Counter()
    pronunciations: dict[str, Pronunciations] = {}
    for id, entry in texts.items():
        words = lexicon.spoken_words(entry.value)
        unknown = [word.word for word in words if not word.pronunciations]
        if unknown_words == "g2p":
            guesses |= {word: lexicon.guess(word) for word in unknown if word not in guesses}
        lacking = [word for word in unknown if not guesses.get(word)]
        for word in lacking:
            missing.setdefault(word, entry.where)
        if lacking:
            notes.add("utterances with words that are not in the lexicon, left out", entry.where)
            continue
        guessed.update(unknown)
        pronunciations[id] = tuple(
            word.pronunciations or (guesses[word.word] or (),) for word in words
        )
    if missing and unknown_words == "refuse":
        first = ", ".join(list(missing)[:5])
        raise InputError(
            f"{file}: {len(missing)} words are not in the lexicon: {first}"
            f"{', ...' if len(missing) > 5 else ''} (first at {next(iter(missing.values()))})"
        )
    notes.add_unknown_words(missing)
    notes.add_guessed_words(guessed)
    refuse_words((p for words in pronunciations.values() for word in words for p in word), file)
    return pronunciations


def refuse_words(sequences: Iterable[tuple[str, ...]], file: Path) -> None:
    """Checks that sequences consist of phonemes, not of words.

    Raises:
        InputError: There are more than ``MAX_PHONEMES`` different symbols, or one of them cannot be
            a phoneme.
    """
    symbols = {symbol for sequence in sequences for symbol in sequence}
    for symbol in symbols:
        if not is_symbol(symbol):
            raise InputError(
                f"{file}: found the symbol {symbol[:40]!r}, expected phonemes: up to 100 "
                "characters without white space and control characters"
            )
    if len(symbols) > MAX_PHONEMES:
        raise InputError(
            f"{file}: found {len(symbols)} different symbols, which are probably words; expected "
            "phonemes, or a lexicon as well"
        )
