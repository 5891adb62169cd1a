"""Text for the language model: a sentence in each line, in phonemes, or in words with a lexicon."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from phoneme_moe.corpora.alternatives import first_pronunciation
from phoneme_moe.corpora.lexicon import Lexicon, pronounce, read_lexicon, refuse_words
from phoneme_moe.corpora.notes import Notes
from phoneme_moe.corpora.tables import Entry, read_lines
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.notation.normal_form import normalize_phoneme


def read_phoneme_text(
    text: str, lexicon: str | None = None, unknown_words: str = "skip"
) -> list[tuple[str, ...]]:
    """Reads the sentences of a text as phonemes.

    Args:
        text: A file with a sentence in each line, or the name of a text of the package: phonemes
            between spaces, or words, if there is a lexicon.
        lexicon: File with the pronunciations of the words, of which the first ones are taken.
        unknown_words: What is done about words outside the lexicon (``lexicon.UNKNOWN_WORDS``);
            ``skip`` leaves out their sentences.

    Raises:
        InputError: A file cannot be read, words are not in the lexicon and refused, or there is no
            sentence left.
    """
    file = locate_text(text)
    lines = {where: line for line, where in read_lines(file)}
    if lexicon is None:
        sentences = [tuple(map(normalize_phoneme, line.split())) for line in lines.values()]
        refuse_words(sentences, file)
    else:
        sentences = _in_phonemes(lines, read_lexicon(Path(lexicon)), file, unknown_words)
    if not sentences:
        raise InputError(f"{file}: found no sentence that can be used, expected one in a line")
    return sentences


def locate_text(text: str) -> Path:
    """The file of a text, or of a text of the package by its name.

    Raises:
        InputError: There is neither.
    """
    file = Path(text)
    if file.is_file():
        return file
    folder = resources.files("phoneme_moe.corpora").joinpath("texts")
    names = {Path(str(one)).stem: Path(str(one)) for one in folder.iterdir()}
    known = {name: path for name, path in names.items() if path.suffix == ".txt"}
    if text not in known:
        raise InputError(
            f"{text}: found no such file, and no text of this name{suggest(text, known)}"
        )
    return known[text]


def _in_phonemes(
    lines: dict[str, str], lexicon: Lexicon, file: Path, unknown_words: str
) -> list[tuple[str, ...]]:
    entries = {where: Entry(line, where) for where, line in lines.items()}
    spoken = pronounce(entries, lexicon, file, unknown_words, Notes())
    sentences = [first_pronunciation(words) for words in spoken.values() if words]
    return [tuple(map(normalize_phoneme, sentence)) for sentence in sentences]
