"""Mutated label files (TextGrids, HTK labels, texts) in folders that are mutated, too."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from phoneme_moe.transcription.writers.textgrid import textgrid
from tests.fuzz.harness import Command
from tests.fuzz.mutations import mutate

MODEL = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "gate.onnx"
PHONEMES = ("a", "i", "m", "s")
SECONDS = 0.5
NUMBERS = ("-1", "0", "0.25", "1e308", "1e999", "nan", "1_0", "9" * 5000, "0.1.2", "１", "")
STRINGS = ('"', '""', '"a', "\0", "\u2028", "t͡ʃ", "intervals [2]:", "<exists>", "IntervalTier", "!")
FILES = ("._1.wav", ".DS_Store", "__MACOSX/1.wav", "Thumbs.db", "notes.docx", "a\nb.txt", "-x.txt")


class TextGrids:
    """A folder of recordings with labels, of which one is mutated."""

    name = "textgrids"

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """Three speakers; the labels of one recording are mutated, and sometimes the folder."""
        chance = random.Random(number)
        os.environ["PHONEME_MOE_DATA"] = str(folder / "data")
        source = folder / "mine"
        files = [
            _write(source / speaker, str(take), chance) for speaker in "xyz" for take in range(3)
        ]
        broken = chance.choice(files)
        if chance.random() < 0.5:
            broken.write_bytes(mutate(broken.read_bytes(), chance))
        else:
            text = broken.read_bytes().decode("utf-16" if _is_utf_16(broken) else "utf-8")
            encoding = chance.choice(("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"))
            broken.write_bytes(_mutated(text, chance).encode(encoding, "surrogatepass"))
        if chance.random() < 0.4:
            chance.choice(CHANGES)(source, broken, chance)
        lexicon = folder / "lexicon.txt"
        lexicon.write_text("".join(f"{phoneme} {phoneme}\n" for phoneme in PHONEMES))
        options = chance.choice(
            (
                [],
                ["--tier", "words"],
                ["--symbols", "ipa"],
                ["--lexicon", str(lexicon), "--tier", "phones"],
                ["--lexicon", str(lexicon), "--tier", "phones", "--unknown-words", "skip"],
                ["--lexicon", str(lexicon), "--tier", "phones", "--unknown-words", "g2p"],
            )
        )
        audio = broken.with_suffix(".wav")
        words = ["--from", str(source), "--lexicon", str(lexicon), "--tier", "phones"]
        return [
            Command(["align", str(MODEL), str(audio), "--textgrid", str(broken)]),
            Command(["corpora", "prepare", "folder", "--from", str(source), "--as", "m", *options]),
            Command(["corpora", "check", "m"]),
            Command(["corpora", "unknown-words", *words]),
        ]


def _write(folder: Path, name: str, chance: random.Random) -> Path:
    """A recording with a label file of some kind, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(0).standard_normal(int(SECONDS * 8_000))
    soundfile.write(folder / f"{name}.wav", noise, 8_000)
    phonemes = chance.choices(PHONEMES, k=4)
    edges = [(100 * index, 100 * (index + 1)) for index in range(4)]
    rows = [(start, end, p) for (start, end), p in zip(edges, phonemes, strict=True)]
    suffix = chance.choice((".TextGrid", ".lab", ".txt"))
    text = " ".join(phonemes)
    if suffix == ".TextGrid":
        text = textgrid({"words": (edges[:1], ["a"]), "phones": (edges, phonemes)}, SECONDS)
        if chance.random() < 0.3:
            text = "\n".join(line.rpartition(" = ")[2].strip() for line in text.splitlines())
            text = 'File type = "ooTextFile"\nObject class = ' + text.partition("\n")[2]
    elif suffix == ".lab":
        text = "".join(f"{start}0000 {end}0000 {phoneme}\n" for start, end, phoneme in rows)
    file = folder / f"{name}{suffix}"
    file.write_bytes(text.encode(chance.choice(("utf-8", "utf-16"))))
    return file


def _is_utf_16(file: Path) -> bool:
    return file.read_bytes()[:2] in {b"\xff\xfe", b"\xfe\xff"}


def _mutated(text: str, chance: random.Random) -> str:
    """Other numbers, labels and lines."""
    lines = text.split("\n")
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(len(lines))
        words = lines[place].split(" ")
        match chance.randrange(5):
            case 0:
                words[-1] = chance.choice(NUMBERS)
            case 1:
                words[chance.randrange(len(words))] = chance.choice(STRINGS)
            case 2:
                words = []
            case 3:
                words = lines[chance.randrange(len(lines))].split(" ")
            case 4:
                words = [*words, *words] * (500 if len(words) < 50 and chance.random() < 0.5 else 1)
        lines[place] = " ".join(words)
    return "\n".join(lines)


def _add_file(source: Path, broken: Path, chance: random.Random) -> None:
    file = source / chance.choice("xyz") / chance.choice(FILES)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(chance.randbytes(30))


def _lose_labels(source: Path, broken: Path, chance: random.Random) -> None:
    for file in source.rglob("*"):
        if file.suffix not in {".wav", ""} and chance.random() < 0.3 and file != broken:
            file.unlink()


def _empty_audio(source: Path, broken: Path, chance: random.Random) -> None:
    chance.choice(sorted(source.rglob("*.wav"))).write_bytes(b"")


def _loop(source: Path, broken: Path, chance: random.Random) -> None:
    (source / "loop").symlink_to(source)


def _make_splits(source: Path, broken: Path, chance: random.Random) -> None:
    for speaker, split in zip("xy", ("train", "dev"), strict=True):
        if chance.random() < 0.8 and speaker not in broken.parts:
            (source / speaker).rename(source / split)


def _add_twin(source: Path, broken: Path, chance: random.Random) -> None:
    broken.with_suffix(".flac").write_bytes(broken.with_suffix(".wav").read_bytes())


def _add_odd_name(source: Path, broken: Path, chance: random.Random) -> None:
    target = source / "x" / os.fsdecode(b"\xff\x1b[31m.wav")
    target.write_bytes(broken.with_suffix(".wav").read_bytes())


def _make_labels_a_folder(source: Path, broken: Path, chance: random.Random) -> None:
    broken.with_suffix(".TextGrid").unlink(missing_ok=True)
    broken.with_suffix(".TextGrid").mkdir()


CHANGES: Sequence[Callable[[Path, Path, random.Random], None]] = (
    _add_file,
    _lose_labels,
    _empty_audio,
    _loop,
    _make_splits,
    _add_twin,
    _add_odd_name,
    _make_labels_a_folder,
)
