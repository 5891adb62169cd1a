"""Words of the user's texts that a lexicon does not have."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field

from phoneme_moe.corpora import an4, commonvoice, cutset, folder, kaldi, librispeech
from phoneme_moe.corpora.lexicon import read_lexicon
from phoneme_moe.corpora.tables import Entry
from phoneme_moe.files.documents import Document
from phoneme_moe.files.writing import write_text


class UnknownWord(Document):
    """A word that is not in the lexicon."""

    word: str = Field(description="The word in small letters, without punctuation around it.")
    count: int = Field(ge=1, description="How often it occurs.")
    first: str = Field(description="The file, and the line of a table, where it occurs first.")
    guess: list[str] | None = Field(
        default=None,
        description="Its pronunciation, guessed from those of the lexicon (--g2p); null if it has "
        "characters that the lexicon does not have.",
    )


class UnknownWords(Document):
    """phoneme-moe corpora unknown-words --json."""

    model_config = ConfigDict(title="Words that are not in a lexicon, version 1")

    version: int = Field(default=1, ge=1, le=1)
    words: list[UnknownWord] = Field(description="The most frequent first.")
    num_words: int = Field(ge=0, description="Number of words of all texts, each occurrence.")
    utterances: int = Field(ge=0, description="Number of utterances.")
    affected: int = Field(ge=0, description="Number of utterances with an unknown word.")


def find_unknown_words(
    source: Path, lexicon: Path, tier: str | None = None, guess: bool = False
) -> UnknownWords:
    """Looks up every word of the user's copy of a corpus with words.

    Args:
        source: The folder or manifest; its layout says which corpus it is.
        lexicon: The pronunciation lexicon.
        tier: Tier of TextGrids with the words.
        guess: Whether to guess pronunciations.

    Raises:
        InputError: The folder or the lexicon cannot be used.
    """
    texts = _read_texts(source, tier)
    pronunciations = read_lexicon(lexicon)
    counts: dict[str, int] = {}
    first: dict[str, str] = {}
    num_words = affected = 0
    for entry in texts.values():
        words = pronunciations.spoken_words(entry.value)
        unknown = [word.word for word in words if not word.pronunciations]
        num_words += len(words)
        affected += bool(unknown)
        for word in unknown:
            counts[word] = counts.get(word, 0) + 1
            first.setdefault(word, entry.where)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    guesses = {w: list(pronunciations.guess(w) or ()) or None for w in ranked if guess}
    return UnknownWords(
        words=[
            UnknownWord(word=w, count=counts[w], first=first[w], guess=guesses.get(w))
            for w in ranked
        ],
        num_words=num_words,
        utterances=len(texts),
        affected=affected,
    )


def write_guesses(words: UnknownWords, file: Path) -> None:
    """Writes the guessed pronunciations as a lexicon, the most frequent words first.

    Raises:
        InputError: The file cannot be written.
    """
    rows = [f"{word.word}\t{' '.join(word.guess)}\n" for word in words.words if word.guess]
    write_text(file, "".join(rows))


def _read_texts(source: Path, tier: str | None) -> dict[str, Entry]:
    for layout in (kaldi, librispeech, an4, commonvoice, cutset):
        if layout.has_layout(source):
            texts: dict[str, Entry] = layout.read_texts(source)
            return texts
    return folder.read_texts(source, tier)
