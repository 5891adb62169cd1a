"""Corpus ``an4``: CMU's AN4 (Census), spelt letters, digits and names by 84 US speakers, 16 kHz.

The published layout has ``etc/an4_train.fileids``, ``etc/an4_train.transcription``, the same for
test, ``etc/an4.dic``, and SPHERE files under ``wav`` (or the same names with another suffix).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from phoneme_moe.corpora.manifest import Splits
    from phoneme_moe.corpora.registry import Preparation
    from phoneme_moe.corpora.tables import Entry
    from phoneme_moe.corpora.transcribed import TranscribedRecording

NUM_DEV_SPEAKERS = 8
DICTIONARY = "etc/an4.dic"
_TABLES = tuple(
    f"etc/an4_{part}.{table}"
    for part in ("train", "test")
    for table in ("fileids", "transcription")
)
_LINE = re.compile(r"(?P<words>.*?)\s*\((?P<id>[^()\s]+)\)")
_NAME = re.compile(r"[^-]+-(?P<speaker>[^-]+)-.+")
_FILLER = re.compile(r"<.*>")
"""Sentence ends and silence, which nobody speaks."""


def settings(job: Preparation) -> dict[str, Any]:
    """Fingerprint of the tables and the lexicon, which determine the corpus.

    Raises:
        InputError: The folder does not have the published layout.
    """
    from phoneme_moe.corpora.manifest import fingerprint
    from phoneme_moe.corpora.tables import require_files
    from phoneme_moe.corpora.transcribed import lexicon_settings

    root = _root(job.source)
    require_files(root, _TABLES, "a folder of AN4")
    lexicon = _lexicon_file(job, root)
    return {
        "tables": fingerprint(root / name for name in _TABLES),
        **lexicon_settings(job, lexicon),
    }


def prepare(job: Preparation) -> Splits:
    """Prepares the published test split; four women and four men of the training speakers are dev.

    A training speaker who is a test speaker, too, would be in test alone (the published parts share
    nobody).

    Raises:
        InputError: A table or the lexicon cannot be used, or a recording is missing; the message
            names file and line.
    """
    from phoneme_moe.audio.finding import audio_files
    from phoneme_moe.corpora.lexicon import read_lexicon
    from phoneme_moe.corpora.splits import split_by_speaker
    from phoneme_moe.corpora.transcribed import transcribed_cuts

    root = _root(job.source)
    parts = {part: _read_part(root, part) for part in ("train", "test")}
    published = {r.speaker: part for part, recordings in parts.items() for r in recordings}
    recordings = [recording for part in parts.values() for recording in part]
    for file in sorted({*audio_files(root / "wav")} - {one.audio for one in recordings}):
        job.notes.add("recordings without a transcription, left out", str(file))
    lexicon = read_lexicon(_lexicon_file(job, root))
    cuts = transcribed_cuts(recordings, lexicon, job)
    return split_by_speaker(cuts, published, NUM_DEV_SPEAKERS, job.source)


def has_layout(source: Path) -> bool:
    """Whether a folder has the tables of AN4."""
    return all((_root(source) / name).is_file() for name in _TABLES)


def read_texts(source: Path) -> dict[str, Entry]:
    """The words of every utterance.

    Raises:
        InputError: A transcription cannot be used; the message names the line.
    """
    tables = [name for name in _TABLES if name.endswith("transcription")]
    return {id: text for name in tables for id, text in _read_texts(_root(source) / name).items()}


def _root(source: Path | None) -> Path:
    assert source is not None
    return source / "an4" if (source / "an4").is_dir() else source


def _lexicon_file(job: Preparation, root: Path) -> Path:
    """The user's lexicon, else the dictionary of the corpus."""
    from phoneme_moe.corpora.tables import require_files

    if job.lexicon is not None:
        return job.lexicon
    require_files(root, (DICTIONARY,), "a folder of AN4 with its dictionary (or give a lexicon)")
    return root / DICTIONARY


def _read_part(root: Path, part: str) -> list[TranscribedRecording]:
    """Reads the utterances of the published ``train`` or ``test``."""
    from phoneme_moe.corpora.tables import read_lines
    from phoneme_moe.corpora.transcribed import TranscribedRecording, audio_by_name

    texts = _read_texts(root / f"etc/an4_{part}.transcription")
    audio = lru_cache(audio_by_name)
    recordings = []
    for line, where in read_lines(root / f"etc/an4_{part}.fileids"):
        folder, _, name = line.rpartition("/")
        match = _NAME.fullmatch(name)
        if match is None:
            raise InputError(f"{where}: expected 'FOLDER/NAME-SPEAKER-b', found {line[:80]!r}")
        if name not in texts:
            raise InputError(f"{where}: {name!r} is not in etc/an4_{part}.transcription")
        file = audio(root / "wav" / folder).get(name)
        if file is None:
            raise InputError(f"{where}: found no wav/{line}.sph (or another suffix)")
        sex = {"f": "F", "m": "M"}.get(match["speaker"][0])
        recordings.append(TranscribedRecording(name, match["speaker"], sex, texts[name], file))
    return recordings


def _read_texts(file: Path) -> dict[str, Entry]:
    """Reads lines ``<s> WORDS </s> (UTTERANCE)``; symbols in angle brackets are not spoken."""
    from phoneme_moe.corpora.tables import Entry, read_lines

    texts: dict[str, Entry] = {}
    for line, where in read_lines(file):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(f"{where}: expected 'WORDS (UTTERANCE)', found {line[:80]!r}")
        if match["id"] in texts:
            first = texts[match["id"]].where
            raise InputError(f"{where}: {match['id']!r} occurs twice ({first})")
        words = (word for word in match["words"].split() if not _FILLER.fullmatch(word))
        texts[match["id"]] = Entry(" ".join(words), where)
    return texts
