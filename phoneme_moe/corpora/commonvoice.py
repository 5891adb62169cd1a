"""Corpus ``commonvoice``: a language of Mozilla Common Voice, sentences read by volunteers.

The published folder of a language has ``validated.tsv``, usually ``train.tsv``, ``dev.tsv`` and
``test.tsv``, and the MP3 files in ``clips`` (or the same names with another suffix).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.audio.formats import AUDIO_SUFFIXES
from phoneme_moe.corpora.prepared import SPLITS
from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from phoneme_moe.corpora.manifest import Splits
    from phoneme_moe.corpora.registry import Preparation
    from phoneme_moe.corpora.tables import Entry, Row
    from phoneme_moe.corpora.transcribed import TranscribedRecording

_VALIDATED = "validated"
_COLUMNS = ("client_id", "path", "sentence")
_SEXES = {"male": "M", "male_masculine": "M", "female": "F", "female_feminine": "F"}
"""Names of releases before and after 17.0; others (``other``, ``intersex`` ...) are no sex here."""
_NAME_LENGTH = 16
"""Characters of a speaker's name; a client_id has 64 or 128, a hash."""


def settings(job: Preparation) -> dict[str, Any]:
    """Fingerprint of the tables and the lexicon, which determine the corpus.

    Raises:
        InputError: The folder does not have the published layout, or there is no lexicon.
    """
    from phoneme_moe.corpora.manifest import fingerprint
    from phoneme_moe.corpora.transcribed import lexicon_settings, require_lexicon

    require_lexicon(job, "commonvoice")
    tables = _tables(job.source)
    return {
        "tables": sorted(tables),
        "contents": fingerprint(tables.values()),
        **lexicon_settings(job),
    }


def prepare(job: Preparation) -> Splits:
    """Prepares the published splits, or the validated clips, split 80/10/10 by speaker.

    A speaker who is in more than one of the published splits is in the last of train, dev and test
    alone.

    Raises:
        InputError: A table or the lexicon cannot be used, or a clip is missing; the message names
            file and line.
    """
    from phoneme_moe.corpora.lexicon import read_lexicon
    from phoneme_moe.corpora.splits import split_by_speaker
    from phoneme_moe.corpora.transcribed import require_lexicon, transcribed_cuts

    assert job.source is not None
    lexicon = read_lexicon(require_lexicon(job, "commonvoice"))
    tables = {name: _read(table) for name, table in _tables(job.source).items()}
    speakers = {
        row["client_id"]: name if name in SPLITS else "train"
        for name, rows in tables.items()
        for row in rows
    }
    names = shorten_names(speakers)
    rows = [row for its_rows in tables.values() for row in its_rows]
    cuts = transcribed_cuts(_recordings(rows, names, job.source / "clips"), lexicon, job)
    published = {names[client]: split for client, split in speakers.items()}
    return split_by_speaker(cuts, published, max(1, len(speakers) // 10), job.source)


def has_layout(source: Path) -> bool:
    """Whether a folder has the tables of a language of Common Voice."""
    return any((source / f"{name}.tsv").is_file() for name in (_VALIDATED, *SPLITS))


def read_texts(source: Path) -> dict[str, Entry]:
    """The sentence of every clip, by its path.

    Raises:
        InputError: A table cannot be used; the message names the line.
    """
    from phoneme_moe.corpora.tables import Entry

    rows = (row for table in _tables(source).values() for row in _read(table))
    return {row["path"]: Entry(row["sentence"], row.where) for row in rows}


def shorten_names(names: Collection[str]) -> dict[str, str]:
    """The first characters of each name: 16, or as many more as tell all of them apart."""
    longest = max(map(len, names), default=0)
    lengths = range(_NAME_LENGTH, max(longest, _NAME_LENGTH) + 1)
    length = next(n for n in lengths if len({name[:n] for name in names}) == len(set(names)))
    return {name: name[:length] for name in names}


def _tables(source: Path | None) -> dict[str, Path]:
    """The tables of the published splits, or that of all validated clips."""
    from phoneme_moe.corpora.tables import require_files

    assert source is not None
    published = [name for name in SPLITS if (source / f"{name}.tsv").is_file()]
    names = SPLITS if published else (_VALIDATED,)
    what = "a language of Common Voice"
    require_files(source, tuple(f"{name}.tsv" for name in names), what)
    if not (source / "clips").is_dir():
        raise InputError(f"{source}: not {what}: found no folder clips")
    return {name: source / f"{name}.tsv" for name in names}


def _read(table: Path) -> list[Row]:
    from phoneme_moe.corpora.tables import read_rows

    rows = list(read_rows(table, _COLUMNS))
    for row in rows:
        for column in ("client_id", "path"):
            if not row[column] or Path(row[column]).name != row[column]:
                raise InputError(f"{row.where}: {column}: found {row[column][:40]!r}, not a name")
    return rows


def _recordings(rows: list[Row], names: dict[str, str], clips: Path) -> list[TranscribedRecording]:
    from phoneme_moe.corpora.tables import Entry
    from phoneme_moe.corpora.transcribed import TranscribedRecording, audio_by_name

    by_name = lru_cache(audio_by_name)
    recordings: dict[str, TranscribedRecording] = {}
    for row in rows:
        file = clips / row["path"]
        id = file.stem if file.suffix.lower() in AUDIO_SUFFIXES else file.name
        if id in recordings:
            first = recordings[id].text.where
            raise InputError(f"{row.where}: {row['path']!r} occurs twice ({first})")
        if not _is_file(file):
            # The suffix is left out in early releases, and another one in converted copies.
            other = by_name(clips).get(id)
            if other is None:
                raise InputError(f"{row.where}: found no clip {row['path'][:80]!r} in {clips}")
            file = other
        recordings[id] = TranscribedRecording(
            id=id,
            speaker=names[row["client_id"]],
            sex=_SEXES.get(row.get("gender", "")),
            text=Entry(row["sentence"], row.where),
            audio=file,
        )
    return list(recordings.values())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for the file system
        return False
