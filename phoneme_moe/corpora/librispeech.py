"""Corpus ``librispeech`` (OpenSLR 12 and 31): audiobooks read by volunteers, 16 kHz.

Any part in its published layout, or a folder with several parts: ``SPEAKER/CHAPTER/ID.flac`` (or
another suffix of audio) and ``SPEAKER-CHAPTER.trans.txt``, with ``SPEAKERS.TXT`` in the folder or
above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from phoneme_moe.corpora.manifest import Splits
    from phoneme_moe.corpora.registry import Preparation
    from phoneme_moe.corpora.tables import Entry
    from phoneme_moe.corpora.transcribed import TranscribedRecording

TEST_SPEAKERS = ("1088", "1737", "118", "163")
"""Two women and two men of train-clean-5 (and so of train-clean-100)."""
DEV_SPEAKERS = ("3947", "2416", "3664", "6848")
"""Two women and two men more of train-clean-5: the first ones by ``splits.rank``."""
_FIXED = dict.fromkeys(TEST_SPEAKERS, "test") | dict.fromkeys(DEV_SPEAKERS, "dev")
_LAYOUTS = ("[0-9]*/[0-9]*/*-*.trans.txt", "*/[0-9]*/[0-9]*/*-*.trans.txt")
"""Transcripts of a part, and of several parts."""
_COLUMNS = "UTTERANCE WORDS"
_NUM_SPEAKERS = 4
"""Most speakers of dev and of test, where neither the publishers nor the table above have any."""


@dataclass(frozen=True)
class _Speaker:
    """A line of ``SPEAKERS.TXT``.

    Attributes:
        sex: ``"M"`` or ``"F"``.
        part: The published part that the speaker belongs to, such as ``"train-clean-100"``.
    """

    sex: str
    part: str


def settings(job: Preparation) -> dict[str, Any]:
    """Fingerprint of the transcripts and the lexicon, which determine the corpus.

    Raises:
        InputError: The folder does not have the published layout, or there is no lexicon.
    """
    from phoneme_moe.corpora.manifest import fingerprint
    from phoneme_moe.corpora.transcribed import lexicon_settings, require_lexicon

    require_lexicon(job, "librispeech")
    root = _root(job.source)
    transcripts = _transcripts(root)
    table = _speaker_table(root)
    return {
        "parts": sorted({_part(file) for file in transcripts}),
        "transcripts": fingerprint([*transcripts, *([table] if table else [])]),
        **lexicon_settings(job),
    }


def prepare(job: Preparation) -> Splits:
    """Prepares one part or several; nobody is in two splits.

    The eight speakers of ``TEST_SPEAKERS`` and ``DEV_SPEAKERS`` are never in train. The others are
    where the publishers have them (train-*, dev-*, test-*). If there are none for dev or test, four
    speakers of train are, chosen by a hash of their names.

    Raises:
        InputError: A table or the lexicon cannot be used, or a transcript has no recording; the
            message names file and line.
    """
    from phoneme_moe.corpora.lexicon import read_lexicon
    from phoneme_moe.corpora.splits import split_by_speaker
    from phoneme_moe.corpora.transcribed import require_lexicon, transcribed_cuts

    lexicon = read_lexicon(require_lexicon(job, "librispeech"))
    root = _root(job.source)
    table = _speaker_table(root)
    speakers = {} if table is None else _read_speakers(table)
    parts: dict[str, str] = {}
    recordings: dict[str, TranscribedRecording] = {}
    for file in _transcripts(root):
        for recording in _read_transcript(file, speakers, job):
            if recording.id in recordings:
                job.notes.add("utterances of an earlier part, left out", recording.text.where)
                continue
            recordings[recording.id] = recording
            parts.setdefault(recording.speaker, _part(file))
    for name in sorted(parts.keys() - speakers.keys()):
        job.notes.add("speakers who are not in SPEAKERS.TXT, sex unknown", name)
    published = {
        name: _FIXED.get(name) or _split(speakers[name].part if name in speakers else part)
        for name, part in parts.items()
    }
    cuts = transcribed_cuts(list(recordings.values()), lexicon, job)
    return split_by_speaker(cuts, published, _NUM_SPEAKERS, job.source)


def has_layout(source: Path) -> bool:
    """Whether a folder is a part of LibriSpeech, or has parts of it."""
    return any(any(_root(source).glob(layout)) for layout in _LAYOUTS)


def read_texts(source: Path) -> dict[str, Entry]:
    """The text of every utterance of all parts.

    Raises:
        InputError: A transcript cannot be used; the message names the line.
    """
    from phoneme_moe.corpora.tables import read_table

    texts: dict[str, Entry] = {}
    for file in _transcripts(_root(source)):
        texts |= read_table(file, _COLUMNS, may_be_empty=True)
    return texts


def _root(source: Path | None) -> Path:
    assert source is not None
    return source / "LibriSpeech" if (source / "LibriSpeech").is_dir() else source


def _transcripts(root: Path) -> list[Path]:
    """The transcripts of a part, or else of all parts in a folder."""
    from phoneme_moe.corpora.tables import contents_of

    for layout in _LAYOUTS:
        if transcripts := sorted(root.glob(layout)):
            return transcripts
    raise InputError(
        f"{root}: expected SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt, or folders such as "
        f"train-clean-5 with these; found {contents_of(root)}"
    )


def _part(transcript: Path) -> str:
    return transcript.parents[2].name


def _split(part: str) -> str:
    prefix = part.partition("-")[0]
    return prefix if prefix in {"dev", "test"} else "train"


def _speaker_table(root: Path) -> Path | None:
    tables = (folder / "SPEAKERS.TXT" for folder in (root, root.parent))
    return next((table for table in tables if table.is_file()), None)


def _read_speakers(file: Path) -> dict[str, _Speaker]:
    """Reads lines ``ID | SEX | SUBSET | MINUTES | NAME``; ``;`` starts a comment line."""
    from phoneme_moe.corpora.tables import read_lines

    speakers = {}
    for line, where in read_lines(file):
        if line.startswith(";"):
            continue
        columns = [column.strip() for column in line.split("|", 4)]
        if len(columns) < 4 or columns[1] not in {"M", "F"}:
            raise InputError(
                f"{where}: expected 'ID | M or F | PART | MINUTES | NAME', found {line[:80]!r}"
            )
        speakers[columns[0]] = _Speaker(sex=columns[1], part=columns[2])
    return speakers


def _read_transcript(
    file: Path, speakers: dict[str, _Speaker], job: Preparation
) -> Iterator[TranscribedRecording]:
    """Reads the utterances of a chapter, lines ``SPEAKER-CHAPTER-NUMBER WORDS``."""
    from phoneme_moe.corpora.tables import read_table
    from phoneme_moe.corpora.transcribed import TranscribedRecording, audio_by_name

    chapter = file.name.removesuffix(".trans.txt")
    speaker = file.parents[1].name
    texts = read_table(file, _COLUMNS, may_be_empty=True)
    audio = audio_by_name(file.parent)
    for name in sorted(audio.keys() - texts.keys()):
        job.notes.add("recordings without a transcript, left out", str(audio[name]))
    for id, text in texts.items():
        if not id.startswith(f"{chapter}-") or not id.startswith(f"{speaker}-"):
            raise InputError(
                f"{text.where}: expected an utterance of speaker {speaker}, such as "
                f"{speaker}-{file.parent.name}-0000, found {id[:40]!r}"
            )
        if id not in audio:
            raise InputError(f"{text.where}: found no {id}.flac (or another suffix) beside it")
        sex = speakers[speaker].sex if speaker in speakers else None
        yield TranscribedRecording(id, speaker, sex, text, audio[id])
