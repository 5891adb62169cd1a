"""Corpus ``kaldi``: a Kaldi data folder (wav.scp, utt2spk, text, segments, spk2gender).

Tables have Kaldi's meaning, but need not be sorted. An utterance without words is left out, as is a
segment of less than a tenth of a second; the end -1 of a segment is that of its recording, and an
end up to half a second later is trimmed (``extract-segments`` has the same numbers).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from phoneme_moe.corpora.lexicon import Lexicon, Pronunciations
    from phoneme_moe.corpora.manifest import Splits, Utterance
    from phoneme_moe.corpora.registry import Preparation
    from phoneme_moe.corpora.tables import Entry

_TABLES = ("wav.scp", "utt2spk", "spk2utt", "text", "segments", "spk2gender")
_SUBFOLDERS = ("train", "dev", "test")
_READING = 2
"""Raised when the same tables give other utterances, so that old corpora are prepared again."""

_ARCHIVE = re.compile(r"(.+):[0-9]+(\[.*\])?")


def settings(job: Preparation) -> dict[str, Any]:
    """Fingerprints of the tables and the lexicon, which determine the corpus.

    Raises:
        InputError: The folder is not a Kaldi data folder.
    """
    from phoneme_moe.corpora.manifest import fingerprint
    from phoneme_moe.corpora.transcribed import lexicon_settings

    tables = [
        folder / name
        for folder in _data_folders(job.source).values()
        for name in _TABLES
        if (folder / name).is_file()
    ]
    return {
        "reading": _READING,
        "tables": fingerprint(tables),
        **lexicon_settings(job),
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
        split: [make_cut(utterance) for utterance in _read_folder(folder, lexicon, job)]
        for split, folder in folders.items()
    }
    return split_within_speakers(splits["all"]) if "all" in splits else splits


def has_layout(source: Path) -> bool:
    """Whether a folder has the tables of a Kaldi data folder, or its subfolders have."""
    return any(
        (folder / "text").is_file() and (folder / "wav.scp").is_file()
        for folder in (source, *(source / name for name in _SUBFOLDERS))
    )


def read_texts(source: Path) -> dict[str, Entry]:
    """The text of every utterance of all splits.

    Raises:
        InputError: A table cannot be used; the message names the line.
    """
    from phoneme_moe.corpora.tables import read_table

    texts: dict[str, Entry] = {}
    for folder in _data_folders(source).values():
        texts |= read_table(folder / "text", "UTTERANCE TEXT", may_be_empty=True)
    return texts


def _data_folders(source: Path | None) -> dict[str, Path]:
    """Data folder of each split; the key is ``"all"`` for data without splits."""
    assert source is not None
    there = [name for name in _SUBFOLDERS if (source / name).is_dir()]
    if not there or (source / "wav.scp").is_file():
        _require_tables(source)
        return {"all": source}
    for name in _SUBFOLDERS:
        _require_tables(source / name)
    return {name: source / name for name in _SUBFOLDERS}


def _require_tables(folder: Path) -> None:
    from phoneme_moe.corpora.tables import require_files

    speakers = "spk2utt" if (folder / "spk2utt").is_file() else "utt2spk"
    if (folder / "utt2spk").is_file():
        speakers = "utt2spk"
    require_files(folder, ("wav.scp", speakers, "text"), "a Kaldi data folder")


def _read_folder(folder: Path, lexicon: Lexicon | None, job: Preparation) -> list[Utterance]:
    from phoneme_moe.corpora.alternatives import first_pronunciation
    from phoneme_moe.corpora.lexicon import pronounce, refuse_words
    from phoneme_moe.corpora.manifest import Utterance, read_header
    from phoneme_moe.corpora.segments import read_places
    from phoneme_moe.corpora.tables import read_sexes, read_table
    from phoneme_moe.system.progress import track

    texts = read_table(folder / "text", "UTTERANCE TEXT", may_be_empty=True)
    speakers = _read_speakers(folder)
    sexes = read_sexes(folder / "spk2gender") if (folder / "spk2gender").is_file() else {}
    words: dict[str, Pronunciations] = {}
    if lexicon is None:
        phonemes = {id: tuple(entry.value.split()) for id, entry in texts.items()}
        refuse_words(phonemes.values(), folder / "text")
    else:
        words = pronounce(texts, lexicon, folder / "text", job.unknown_words, job.notes)
        phonemes = {id: first_pronunciation(its_words) for id, its_words in words.items()}
    paths = _read_paths(folder)
    places = read_places(folder, {id: entry for id, (_, entry) in paths.items()})
    table = "segments" if (folder / "segments").is_file() else "wav.scp"
    for id, text in texts.items():
        if id not in speakers:
            raise InputError(f"{text.where}: {id!r} is not in {_speaker_table(folder)}")
        if id not in places:
            raise InputError(f"{text.where}: {id!r} is not in {folder / table}")
        if id in phonemes and not phonemes[id]:
            job.notes.add("utterances without words, left out", text.where)
    for id, place in places.items():
        if id not in texts:
            job.notes.add("utterances without a text, left out", place.where)
    spoken = [id for id in texts if phonemes.get(id)]
    needed = list(dict.fromkeys(places[id].recording for id in spoken))
    files = {
        name: read_header(name, paths[name][0], paths[name][1].where)
        for name in track(needed, f"Reading {folder.name}", job.progress)
    }
    utterances = []
    for id in spoken:
        file = files[places[id].recording]
        span = places[id].span(file, job.notes)
        if span is not None:
            speaker = speakers[id].value
            utterances.append(
                Utterance(
                    id=id,
                    speaker=speaker,
                    sex=sexes.get(speaker),
                    text=texts[id].value,
                    phonemes=phonemes[id],
                    pronunciations=words.get(id, ()),
                    audio=file,
                    start=span[0],
                    end=span[1],
                    channel=places[id].channel,
                )
            )
    return utterances


def _speaker_table(folder: Path) -> Path:
    return folder / ("utt2spk" if (folder / "utt2spk").is_file() else "spk2utt")


def _read_speakers(folder: Path) -> dict[str, Entry]:
    """Speaker of each utterance, from utt2spk, or from spk2utt if there is no utt2spk."""
    from phoneme_moe.corpora.tables import Entry, read_table

    if (folder / "utt2spk").is_file():
        return read_table(folder / "utt2spk", "UTTERANCE SPEAKER")
    speakers: dict[str, Entry] = {}
    for speaker, entry in read_table(folder / "spk2utt", "SPEAKER UTTERANCE ...").items():
        for id in entry.value.split():
            if id in speakers:
                raise InputError(f"{entry.where}: {id!r} occurs twice ({speakers[id].where})")
            speakers[id] = Entry(speaker, entry.where)
    return speakers


def _read_paths(folder: Path) -> dict[str, tuple[Path, Entry]]:
    """Audio file of each recording, with its line in wav.scp."""
    from phoneme_moe.corpora.tables import read_table

    paths = {}
    for id, entry in read_table(folder / "wav.scp", "RECORDING FILE").items():
        if entry.value.endswith("|") or entry.value.startswith("|"):
            advice = "; SPHERE files can be given directly" if "sph2pipe" in entry.value else ""
            raise InputError(
                f"{entry.where}: found the command {entry.value!r}, expected a file; commands are "
                f"not run{advice}"
            )
        path = _audio_path(folder, entry)
        if _ARCHIVE.fullmatch(entry.value) and not path.is_file():
            raise InputError(
                f"{entry.where}: found {entry.value!r}, a place in a Kaldi archive, expected an "
                "audio file (wav-copy writes them)"
            )
        paths[id] = path, entry
    return paths


def _audio_path(folder: Path, entry: Entry) -> Path:
    """Resolves a path of ``wav.scp``, absolute or relative to its folder or to the parent folder.

    The latter is for published corpora with an audio folder beside train, dev and test.
    """
    try:
        bases = [base for base in (folder, folder.parent) if (base / entry.value).is_file()]
    except OSError as error:  # a name that is too long for the file system
        raise InputError(f"{entry.where}: {entry.value[:80]!r}: {error.strerror}") from error
    return (bases or [folder])[0] / entry.value
