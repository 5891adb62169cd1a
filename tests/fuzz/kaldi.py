"""Mutated Kaldi data folders, and mutated lexicons."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.harness import Command
from tests.fuzz.mutations import mutate
from tests.fuzz.texts import encode, mutate_lines, own_data_folder, use, write_wav

WORDS = {
    "good": "G UH1 D",
    "day": "D EY1",
    "peur": "9 R",
    "tuer": "2",
    "caf\u00e9": "k a f e",
    "don\u2019t": "D OW N T",
}


def write_kaldi(folder: Path, words: bool, segments: bool) -> None:
    """Two speakers with four utterances each."""
    ids = [f"{speaker}-{number}" for speaker in ("ana", "bo") for number in range(4)]
    texts = list(WORDS) if words else ["b a", "d a b", "a", "b d"]
    files = ["rec"] if segments else ids
    for name in files:
        write_wav(folder / "wav" / f"{name}.wav", 2.4 if segments else 0.3)
    tables = {
        "wav.scp": [f"{name} wav/{name}.wav" for name in files],
        "utt2spk": [f"{id} {id.partition('-')[0]}" for id in ids],
        "text": [f"{id} {texts[n % len(texts)]}" for n, id in enumerate(ids)],
        "spk2gender": ["ana f", "bo m"],
    }
    if segments:
        tables["segments"] = [
            f"{id} rec {0.3 * n:.2f} {0.3 * n + 0.3:.2f}" for n, id in enumerate(ids)
        ]
    for name, lines in tables.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")


class Kaldi:
    """Kaldi data folders."""

    name = "kaldi"

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """A folder with one or two mutated tables."""
        own_data_folder()
        chance = random.Random(number)
        write_kaldi(folder / "k", False, chance.random() < 0.5)
        tables = sorted(path.name for path in (folder / "k").iterdir() if path.is_file())
        for name in chance.sample(tables, chance.choice((1, 1, 2))):
            mutate_file(folder / "k" / name, chance)
        return use(folder, ["corpora", "prepare", "kaldi", "--from", "k"], number % 3 == 0)


class Lexicons:
    """Lexicons with texts of words."""

    name = "lexicons"

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """A mutated lexicon of one of the formats, sometimes with a mutated text."""
        own_data_folder()
        chance = random.Random(number)
        write_kaldi(folder / "k", True, False)
        columns = chance.choice(("", "", "0.99 ", "0.99 0.2 ", "1.0 0.2 1.1 0.9 "))
        gap = chance.choice((" ", "  ", "\t"))
        lines = [f"{word}{gap}{columns}{phonemes}" for word, phonemes in WORDS.items()]
        lines += [";;; comment", f"GOOD(2){gap}{columns}G IH D # rare"]
        lexicon = folder / "lexicon.txt"
        lexicon.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        mutate_file(lexicon, chance)
        if chance.random() < 0.3:
            mutate_file(folder / "k" / "text", chance)
        prepare = ["corpora", "prepare", "kaldi", "--from", "k", "--lexicon", "lexicon.txt"]
        return use(folder, prepare, number % 5 == 0)


def mutate_file(path: Path, chance: random.Random) -> None:
    """Changes the lines or bytes of a table, or puts a folder or nothing in its place."""
    if chance.random() < 0.05:
        path.unlink()
        if chance.random() < 0.5:
            path.mkdir()
        return
    text = mutate_lines(path.read_text("utf-8"), chance)
    content = encode(text, chance)
    path.write_bytes(mutate(content, chance) if chance.random() < 0.15 else content)
