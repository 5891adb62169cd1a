"""Mutated tables of published corpora with words: LibriSpeech, AN4, Common Voice."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.fuzz.harness import Command
from tests.fuzz.kaldi import mutate_file
from tests.fuzz.texts import own_data_folder, use, write_wav

SPEAKERS = ("fa", "mb", "fc", "md")
LEXICON = "good G UH1 D\nday D EY1\nday(2) D AY1\n"


def write_librispeech(folder: Path) -> None:
    """Two utterances each of four readers."""
    lines = ["; ID | SEX | SUBSET | MINUTES | NAME"]
    for reader in ("11", "12", "13", "14"):
        chapter = folder / reader / "7"
        ids = [f"{reader}-7-{number:04d}" for number in range(2)]
        for id in ids:
            write_wav(chapter / f"{id}.wav")
        lines.append(f"{reader} | {'MF'[int(reader) % 2]} | train-clean-100 | 25.03 | A Name")
        texts = "".join(f"{id} GOOD DAY\n" for id in ids)
        (chapter / f"{reader}-7.trans.txt").write_text(texts)
    (folder / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n")


def write_an4(folder: Path) -> None:
    """Two utterances each of three training speakers and a test speaker."""
    (folder / "etc").mkdir(parents=True)
    for part, speakers in (("train", SPEAKERS[:3]), ("test", SPEAKERS[3:])):
        names = [f"an{number}-{speaker}-b" for speaker in speakers for number in range(2)]
        for name in names:
            write_wav(folder / "wav" / "clstk" / f"{name}.wav")
        fileids = "".join(f"clstk/{name}\n" for name in names)
        (folder / "etc" / f"an4_{part}.fileids").write_text(fileids)
        texts = "".join(f"<s> GOOD DAY </s> ({name})\n" for name in names)
        (folder / "etc" / f"an4_{part}.transcription").write_text(texts)
    (folder / "etc" / "an4.dic").write_text("<s> SIL\n" + LEXICON)


def write_commonvoice(folder: Path) -> None:
    """Two clips each of four speakers."""
    for table, speakers in (
        ("train", SPEAKERS[:2]),
        ("dev", SPEAKERS[2:3]),
        ("test", SPEAKERS[3:]),
    ):
        rows = ["client_id\tpath\tsentence\tgender"]
        for speaker in speakers:
            for number in range(2):
                write_wav(folder / "clips" / f"{speaker}{number}.wav")
                rows.append(f"{speaker * 32}\t{speaker}{number}.wav\tGood day!\tfemale_feminine")
        (folder / f"{table}.tsv").write_text("\n".join(rows) + "\n")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "librispeech": write_librispeech,
    "an4": write_an4,
    "commonvoice": write_commonvoice,
}


class Published:
    """Published corpora whose tables or lexicon were changed."""

    name = "published"

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """A corpus with one or two mutated tables."""
        own_data_folder()
        chance = random.Random(number)
        name = list(LAYOUTS)[number % 3]
        LAYOUTS[name](folder / "in")
        lexicon = folder / "lexicon.txt"
        lexicon.write_text(LEXICON)
        tables = [path for path in sorted((folder / "in").rglob("*")) if path.is_file()]
        tables = [path for path in tables if path.suffix != ".wav"]
        for path in chance.sample([*tables, lexicon], chance.choice((1, 1, 2))):
            mutate_file(path, chance)
        prepare = ["corpora", "prepare", name, "--from", "in"]
        if name != "an4" or chance.random() < 0.3:
            prepare += ["--lexicon", "lexicon.txt"]
        if "--lexicon" in prepare and chance.random() < 0.5:
            prepare += ["--unknown-words", chance.choice(("skip", "g2p"))]
        return use(folder, prepare, number % 5 == 0)
