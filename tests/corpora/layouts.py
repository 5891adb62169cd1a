"""Tiny copies of the layouts that corpora are published in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile


def write_audio(path: Path, seconds: float = 0.2, sampling_rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, round(seconds * sampling_rate))
    kind = ("OGG", "OPUS") if path.suffix == ".opus" else (None, None)
    soundfile.write(path, noise, sampling_rate, format=kind[0], subtype=kind[1])


def make_kaldi(folder: Path, texts: dict[str, str], seconds: float = 0.2) -> Path:
    """A Kaldi data folder; an utterance id is ``SPEAKER-NUMBER``."""
    folder.mkdir(parents=True, exist_ok=True)
    for id in texts:
        write_audio(folder / "wav" / f"{id}.wav", seconds)
    write_table(folder / "wav.scp", {id: f"wav/{id}.wav" for id in texts})
    write_table(folder / "utt2spk", {id: id.split("-")[0] for id in texts})
    write_table(folder / "text", texts)
    return folder


def write_table(file: Path, entries: dict[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{key} {value}\n" for key, value in entries.items()), "utf-8")


def make_fsdd(folder: Path, speakers: tuple[str, ...] = ("ann", "bob")) -> Path:
    for speaker in speakers:
        for digit in range(10):
            for take in (0, 5, 10):
                path = folder / "recordings" / f"{digit}_{speaker}_{take}.wav"
                write_audio(path, 0.1, 8_000)
    return folder


def make_speechocean762(folder: Path) -> Path:
    """Twelve training and two test speakers with one utterance each, audio named ``.WAV``."""
    words = {"0": "W_B IY0_E", "1": "K_B AO0_I L_E"}
    word_phonemes = {}
    for part, numbers in {"train": range(12), "test": range(12, 14)}.items():
        speakers = [f"{number:04d}" for number in numbers]
        ids = {f"{speaker}10011": speaker for speaker in speakers}
        for id, speaker in ids.items():
            path = folder / "WAVE" / f"SPEAKER{speaker}" / f"{id}.WAV"
            write_audio(path)
            word_phonemes |= {f"{id}.{word}": phonemes for word, phonemes in words.items()}
        paths = {id: f"WAVE/SPEAKER{speaker}/{id}.WAV" for id, speaker in ids.items()}
        write_table(folder / part / "wav.scp", paths)
        write_table(folder / part / "utt2spk", ids)
        write_table(folder / part / "text", dict.fromkeys(ids, "WE CALL"))
        sexes = {speaker: "mf"[int(speaker) % 2] for speaker in speakers}
        write_table(folder / part / "spk2gender", sexes)
        write_table(folder / part / "spk2age", dict.fromkeys(speakers, "7"))
    write_table(folder / "resource" / "text-phone", word_phonemes)
    return folder


def make_folder(folder: Path, labels: dict[str, str], seconds: float = 0.2) -> Path:
    """Recordings with label files: ``{"ann/1.txt": "b a"}`` makes ``ann/1.wav``, too."""
    for name, text in labels.items():
        write_audio((folder / name).with_suffix(".wav"), seconds)
        (folder / name).write_text(text, "utf-8")
    return folder


def make_librispeech(
    part: Path, speakers: Iterable[str], suffix: str = ".flac", text: str = "WE CALL"
) -> Path:
    """A part of LibriSpeech: a chapter with two utterances for each speaker."""
    for speaker in speakers:
        folder = part / speaker / "7"
        ids = [f"{speaker}-7-{number:04d}" for number in range(2)]
        for id in ids:
            write_audio(folder / f"{id}{suffix}", 0.5)
        write_table(folder / f"{speaker}-7.trans.txt", dict.fromkeys(ids, text))
    return part


def write_speakers(file: Path, sexes: dict[str, str], subset: str = "train-clean-100") -> None:
    """``SPEAKERS.TXT`` of LibriSpeech; names may have bars, as reader 60 has."""
    lines = [f"{id:<5}| {sex} | {subset:<17}| 25.03 | |CBW|{id}\n" for id, sex in sexes.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("; comment\n;ID  |SEX| SUBSET           |MINUTES| NAME\n" + "".join(lines))


def make_an4(folder: Path, train: Iterable[str], test: Iterable[str], suffix: str = ".wav") -> Path:
    """AN4 with two utterances for each speaker; lists of test begin with an empty line."""
    (folder / "etc").mkdir(parents=True)
    for part, names, inside in (("train", train, "an4_clstk"), ("test", test, "an4test_clstk")):
        ids = [(speaker, f"{take}-{speaker}-b") for speaker in names for take in ("an1", "cen2")]
        for speaker, id in ids:
            write_audio(folder / "wav" / inside / speaker / f"{id}{suffix}", 0.5)
        start = "" if part == "train" else "\n"
        fileids = "".join(f"{inside}/{speaker}/{id}\n" for speaker, id in ids)
        (folder / "etc" / f"an4_{part}.fileids").write_text(start + fileids)
        texts = "".join(f"<s> A ONE </s> ({id})\n" for _, id in ids)
        (folder / "etc" / f"an4_{part}.transcription").write_text(start + texts)
    (folder / "etc" / "an4.dic").write_text(
        "<s>\tSIL\n</s>\tSIL\n<sil>\tSIL\nA\tAH\nA(2)\tEY\nONE\tHH W AH N\nONE(2)\tW AH N\n"
    )
    return folder


def make_commonvoice(
    folder: Path, tables: dict[str, Iterable[str]], suffix: str = ".mp3", gender: str = "male"
) -> Path:
    """A language of Common Voice: a table has two clips of each speaker, who has a long name."""
    columns = ["client_id", "path", "sentence_id", "sentence", "up_votes", "gender", "accents"]
    for table, speakers in tables.items():
        lines = ["\t".join(columns)]
        for speaker in speakers:
            for number in range(2):
                name = f"common_voice_en_{speaker}{number}"
                write_audio(folder / "clips" / f"{name}{suffix}", 0.5)
                client = speaker.ljust(128, "f")
                sentence = '"We call."' if number else "We ca’LL"
                row = [client, f"{name}.mp3", "s1", sentence, "2", gender, ""]
                lines.append("\t".join(row))
        (folder / f"{table}.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder
