"""Corpus ``kaldi``: a Kaldi data folder (wav.scp, utt2spk, text, segments, spk2gender)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from phoneme_moe.corpora.manifest import AudioFile, Splits, Utterance
    from phoneme_moe.corpora.registry import Preparation

REQUIRED = ("wav.scp", "utt2spk", "text")
OPTIONAL = ("segments", "spk2gender")
_SUBFOLDERS = ("train", "dev", "test")


def settings(job: Preparation) -> dict[str, Any]:
    """Fingerprints of the tables and the lexicon, which determine the corpus.

    Raises:
        InputError: The folder is not a Kaldi data folder.
    """
    from phoneme_moe.corpora.manifest import fingerprint

    tables = [
        folder / name
        for folder in _data_folders(job.source).values()
        for name in REQUIRED + OPTIONAL
        if (folder / name).is_file()
    ]
    return {
        "tables": fingerprint(tables),
        "lexicon": None if job.lexicon is None else str(job.lexicon),
        "lexicon_contents": None if job.lexicon is None else fingerprint([job.lexicon]),
    }


def prepare(job: Preparation) -> Splits:
    """Prepares subfolders train, dev and test, or one folder, which is split within each speaker.

    Raises:
        InputError: A table, the lexicon or an audio file cannot be used; the message names file and
            line.
    """
    from phoneme_moe.corpora.lexicon import read_lexicon
    from phoneme_moe.corpora.manifest import make_cut
    from phoneme_moe.corpora.splits import split_within_speakers

    lexicon = None if job.lexicon is None else read_lexicon(job.lexicon)
    folders = _data_folders(job.source)
    splits = {
        split: [make_cut(utterance) for utterance in _read_folder(folder, lexicon, job.progress)]
        for split, folder in folders.items()
    }
    return split_within_speakers(splits["all"]) if "all" in splits else splits


def _data_folders(source: Path | None) -> dict[str, Path]:
    """Data folder of each split; the key is ``"all"`` for data without splits."""
    from phoneme_moe.corpora.tables import require_files

    assert source is not None
    there = [name for name in _SUBFOLDERS if (source / name).is_dir()]
    if not there or (source / "wav.scp").is_file():
        require_files(source, REQUIRED, "a Kaldi data folder")
        return {"all": source}
    for name in _SUBFOLDERS:
        require_files(source / name, REQUIRED, "a Kaldi data folder")
    return {name: source / name for name in _SUBFOLDERS}


def _read_folder(
    folder: Path, lexicon: dict[str, tuple[str, ...]] | None, progress: bool
) -> list[Utterance]:
    from phoneme_moe.corpora.lexicon import pronounce, refuse_words
    from phoneme_moe.corpora.manifest import Utterance
    from phoneme_moe.corpora.tables import read_sexes, read_table

    texts = read_table(folder / "text", "UTTERANCE TEXT")
    speakers = read_table(folder / "utt2spk", "UTTERANCE SPEAKER")
    sexes = read_sexes(folder / "spk2gender") if (folder / "spk2gender").is_file() else {}
    if lexicon is None:
        phonemes = {id: tuple(entry.value.split()) for id, entry in texts.items()}
        refuse_words(phonemes.values(), folder / "text")
    else:
        phonemes = pronounce(texts, lexicon, folder / "text")
    audio = _read_audio(folder, progress)
    utterances = []
    for id, text in texts.items():
        if id not in speakers:
            raise InputError(f"{text.where}: {id!r} is not in {folder / 'utt2spk'}")
        if id not in audio:
            table = "segments" if (folder / "segments").is_file() else "wav.scp"
            raise InputError(f"{text.where}: {id!r} is not in {folder / table}")
        file, start, end = audio[id]
        speaker = speakers[id].value
        utterances.append(
            Utterance(
                id=id,
                speaker=speaker,
                sex=sexes.get(speaker),
                text=text.value,
                phonemes=phonemes[id],
                audio=file,
                start=start,
                end=end,
            )
        )
    return utterances


def _read_audio(folder: Path, progress: bool) -> dict[str, tuple[AudioFile, float, float | None]]:
    """Audio file of each utterance, with start and end in seconds."""
    from phoneme_moe.corpora.manifest import read_header
    from phoneme_moe.corpora.tables import read_table
    from phoneme_moe.progress import track

    recordings = read_table(folder / "wav.scp", "RECORDING FILE")
    files = {}
    for id, entry in track(
        recordings.items(), f"Reading {folder.name}", progress, total=len(recordings)
    ):
        if entry.value.endswith("|"):
            raise InputError(
                f"{entry.where}: found the command {entry.value!r}, expected a file; commands are "
                "not run"
            )
        files[id] = read_header(id, _audio_path(folder, entry.value), entry.where)
    if not (folder / "segments").is_file():
        return {id: (file, 0.0, None) for id, file in files.items()}
    segments: dict[str, tuple[AudioFile, float, float | None]] = {}
    what = "UTTERANCE RECORDING START END"
    for id, entry in read_table(folder / "segments", what).items():
        try:
            recording, start, end = entry.value.split()
            times = float(start), float(end)
        except ValueError:
            raise InputError(
                f"{entry.where}: expected '{what}' in seconds, found {id} {entry.value!r}"
            ) from None
        if recording not in files:
            raise InputError(f"{entry.where}: {recording!r} is not in {folder / 'wav.scp'}")
        file = files[recording]
        duration = file.num_samples / file.sampling_rate
        # Kaldi rounds times to hundredths of a second, so an end may exceed the file by that.
        if not 0 <= times[0] < times[1] <= duration + 0.01 or times[0] >= duration:
            raise InputError(
                f"{entry.where}: {times[0]} to {times[1]} s is not within {file.path}, "
                f"which lasts {duration:.3f} s"
            )
        segments[id] = (file, times[0], min(times[1], duration))
    return segments


def _audio_path(folder: Path, name: str) -> Path:
    """Resolves a path of ``wav.scp``, absolute or relative to its folder or to the parent folder.

    The latter is for published corpora with an audio folder beside train, dev and test.
    """
    for base in (folder, folder.parent):
        if (base / name).is_file():
            return base / name
    return folder / name
