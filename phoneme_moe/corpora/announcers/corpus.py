"""Corpus ``announcers``: isolated Japanese words by six synthetic speakers, for /b, d, g/ tasks.

The words are split into train, dev and test without overlap (homophones count as one word). Every
announcer reads every word of a split once, and words with /b/, /d/ or /g/ in further renditions
until there are enough tokens of each.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.errors import InputError
from phoneme_moe.system.cores import usable_cores

if TYPE_CHECKING:
    from phoneme_moe.corpora.manifest import Splits
    from phoneme_moe.corpora.registry import Preparation

STOPS = ("b", "d", "g")
MIN_TOKENS = 250
"""Minimum tokens of each of /b/, /d/ and /g/ for every speaker, in train and in test."""

# Words are assigned to the splits in turn: 45 %, 9 %, 45 %.
_DEAL = ("train", "test") * 5 + ("dev",)

Pronunciations = Mapping[str, tuple[str, ...]]  # phonemes by word in kana


def settings(job: Preparation) -> dict[str, Any]:
    """Word list, voices and versions, which determine the corpus."""
    from phoneme_moe.corpora.announcers.voices import ANNOUNCERS, SYNTHESIS_VERSION, require_praat

    words = "\n".join(read_words(word_list()))
    return {
        "words": hashlib.sha256(words.encode()).hexdigest()[:16],
        "min_tokens": MIN_TOKENS,
        "voices": [asdict(announcer) for announcer in ANNOUNCERS],
        "synthesis_version": SYNTHESIS_VERSION,
        "praat": require_praat(),
    }


def prepare(job: Preparation) -> Splits:
    """Synthesises the word list of the package.

    Raises:
        InputError: ``praat-parselmouth`` is not installed.
    """
    return speak_corpus(job, read_words(word_list()), MIN_TOKENS)


def word_list() -> Path:
    """Path of the word list, in the installed package or at the top of a checkout."""
    package = Path(__file__).parents[2]
    places = [package / "data", package.parent / "data"]
    for place in places:
        if (place / "japanese_words.txt").is_file():
            return place / "japanese_words.txt"
    raise InputError(f"japanese_words.txt: not in {places[0]} nor in {places[1]}")


def read_words(file: Path) -> list[str]:
    """Reads the words, in kana, of a list with lines ``KANA<TAB>GLOSS`` and ``#`` comments.

    Raises:
        InputError: A word occurs twice or a line has no gloss.
    """
    from phoneme_moe.corpora.tables import read_lines

    words = []
    for line, where in read_lines(file):
        if line.startswith("#"):
            continue
        word, separator, _ = line.partition("\t")
        if not separator or word in words:
            raise InputError(f"{where}: expected a new word, a tab and a gloss, found {line!r}")
        words.append(word)
    return words


def speak_corpus(job: Preparation, words: Sequence[str], min_tokens: int) -> Splits:
    """Splits the words, synthesises them with every announcer, and makes the cuts.

    Args:
        job: The preparation, which specifies the folder for the audio.
        words: The words in kana.
        min_tokens: Minimum tokens of each of /b/, /d/ and /g/ per speaker in train and in test; in
            dev every word occurs once.
    """
    from phoneme_moe.corpora.announcers.synthesis import SAMPLING_RATE, Recital, recite
    from phoneme_moe.corpora.announcers.voices import ANNOUNCERS
    from phoneme_moe.corpora.manifest import AudioFile, Utterance, make_cut
    from phoneme_moe.system.progress import track

    pronunciations = pronounce_words(words, job.progress)
    numbers = {word: number for number, word in enumerate(words, start=1)}
    split_of: dict[str, str] = {}
    renditions: list[tuple[int, str, int]] = []
    for split, its_words in split_words(pronunciations).items():
        split_of |= dict.fromkeys(its_words, split)
        wanted = 0 if split == "dev" else min_tokens
        planned = plan_renditions(its_words, pronunciations, wanted)
        renditions += [(numbers[word], word, rendition) for word, rendition in planned]
    recitals = [Recital(announcer, tuple(renditions)) for announcer in ANNOUNCERS]
    spoken = track(
        recite(recitals, job.folder, _num_processes()),
        "Synthesising",
        job.progress,
        total=len(renditions) * len(recitals),
    )
    splits: dict[str, list[Any]] = {"train": [], "dev": [], "test": []}
    for word in sorted(spoken, key=lambda word: word.id):
        utterance = Utterance(
            id=word.id,
            speaker=word.announcer.name,
            sex=word.announcer.sex,
            text=word.word,
            phonemes=word.phonemes,
            audio=AudioFile(word.id, Path(word.path), SAMPLING_RATE, word.num_samples),
            times=word.times,
        )
        splits[split_of[word.word]].append(make_cut(utterance))
    return splits


def pronounce_words(words: Sequence[str], progress: bool = False) -> dict[str, tuple[str, ...]]:
    """Phonemes of each word as spoken by the first announcer, in the order of ``words``."""
    from tempfile import TemporaryDirectory

    from phoneme_moe.corpora.announcers.synthesis import Recital, recite
    from phoneme_moe.corpora.announcers.voices import ANNOUNCERS
    from phoneme_moe.system.progress import track

    num_processes = _num_processes()
    numbered = [(number, word, 0) for number, word in enumerate(words)]
    recitals = [
        Recital(ANNOUNCERS[0], tuple(numbered[start::num_processes]))
        for start in range(num_processes)
    ]
    with TemporaryDirectory() as folder:
        spoken = track(
            recite(recitals, Path(folder), num_processes),
            "Synthesising the word list",
            progress,
            total=len(words),
        )
        pronunciations = {word.word: word.phonemes for word in spoken}
    return {word: pronunciations[word] for word in words}


def split_words(pronunciations: Pronunciations) -> dict[str, list[str]]:
    """Splits the words, with homophones together and /b, d, g/ balanced between train and test."""
    from phoneme_moe.corpora.splits import rank

    homophones: dict[tuple[str, ...], list[str]] = {}
    for word, phonemes in pronunciations.items():
        homophones.setdefault(phonemes, []).append(word)

    def stops_first(phonemes: tuple[str, ...]) -> tuple[str, str]:
        stops = "".join(sorted(phoneme for phoneme in phonemes if phoneme in STOPS))
        return stops, rank(" ".join(phonemes))

    # Words with the same stops are adjacent, so assigning them in turn balances the splits.
    splits: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for place, phonemes in enumerate(sorted(homophones, key=stops_first)):
        splits[_DEAL[place % len(_DEAL)]] += homophones[phonemes]
    return splits


def plan_renditions(
    words: Sequence[str], pronunciations: Pronunciations, min_tokens: int
) -> list[tuple[str, int]]:
    """Plans the renditions of each word: one, and more while one of its stops is too rare.

    Returns:
        Words with the number of the rendition, from 0, in the order of synthesis.
    """
    from phoneme_moe.corpora.splits import rank

    stops = {word: [p for p in pronunciations[word] if p in STOPS] for word in words}
    tokens: Counter[str] = Counter()
    for word in words:
        tokens.update(stops[word])
    planned = [(word, 0) for word in sorted(words, key=rank)]
    occurring = set(tokens)
    rendition = 0
    while any(tokens[stop] < min_tokens for stop in occurring):
        rendition += 1
        for word in sorted(words, key=lambda word: rank(f"{word} {rendition}")):
            if any(tokens[stop] < min_tokens for stop in stops[word]):
                tokens.update(stops[word])
                planned.append((word, rendition))
    return planned


def _num_processes() -> int:
    """One process per CPU; the audio does not depend on it."""
    from phoneme_moe.corpora.announcers.voices import ANNOUNCERS

    return min(len(ANNOUNCERS), usable_cores().number)
