"""Recordings of one utterance each with a transcript in words, as published corpora have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.audio.formats import AUDIO_SUFFIXES
from phoneme_moe.errors import ArgumentError, InputError

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from phoneme_moe.corpora.lexicon import Lexicon
    from phoneme_moe.corpora.registry import Preparation
    from phoneme_moe.corpora.tables import Entry


@dataclass(frozen=True)
class TranscribedRecording:
    """A recording of one utterance.

    Attributes:
        id: Identifier of the utterance; unique in the corpus.
        speaker: Name of the speaker.
        sex: ``"M"``, ``"F"``, or None if unknown.
        text: The words, and the place of the transcript.
        audio: The audio file.
    """

    id: str
    speaker: str
    sex: str | None
    text: Entry
    audio: Path


def require_lexicon(job: Preparation, corpus: str) -> Path:
    """The lexicon of a preparation.

    Raises:
        ArgumentError: There is none.
    """
    if job.lexicon is None:
        problem = f"found none, expected pronunciations for the words of corpus {corpus!r}"
        raise ArgumentError("lexicon", problem)
    return job.lexicon


def lexicon_settings(job: Preparation, lexicon: Path | None = None) -> dict[str, Any]:
    """The part of the settings of a corpus that says how its words become phonemes.

    Args:
        job: The preparation.
        lexicon: The lexicon, if it is not that of ``job``.
    """
    from phoneme_moe.corpora.g2p.model import VERSION
    from phoneme_moe.corpora.manifest import fingerprint
    from phoneme_moe.notation.normal_form import NORMAL_FORM

    lexicon = lexicon or job.lexicon
    return {
        "normal_form": NORMAL_FORM,
        "lexicon": None if lexicon is None else str(lexicon),
        "lexicon_contents": None if lexicon is None else fingerprint([lexicon]),
        # Named as in corpora of before there were guesses, so that these stay up to date.
        "skip_unknown_words": job.unknown_words == "skip",
        **({"g2p": VERSION} if job.unknown_words == "g2p" else {}),
        # Corpora from before alternatives were kept are prepared again.
        **({} if lexicon is None else {"alternatives": True}),
    }


def audio_by_name(folder: Path) -> dict[str, Path]:
    """The audio files of a folder by their names without suffix; none if there is no folder.

    Raises:
        InputError: The folder cannot be read, or two files differ only in their suffixes.
    """
    files: dict[str, Path] = {}
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(f"{str(folder)[:200]}: cannot be read ({error.strerror})") from error
    for file in paths:
        if file.suffix.lower() in AUDIO_SUFFIXES and not file.name.startswith("."):
            other = files.setdefault(file.stem, file)
            if other != file:
                raise InputError(
                    f"{file}: has the same name as {other}; expected one recording with it"
                )
    return files


def transcribed_cuts(
    recordings: Sequence[TranscribedRecording], lexicon: Lexicon, job: Preparation
) -> list[Cut]:
    """Converts recordings with transcripts in words to cuts with phonemes.

    Raises:
        InputError: Words are not in the lexicon, if ``job.unknown_words`` refuses them, or a
            recording is not audio.
    """
    from phoneme_moe.corpora.alternatives import first_pronunciation
    from phoneme_moe.corpora.lexicon import pronounce
    from phoneme_moe.corpora.manifest import Utterance, make_cut, read_header
    from phoneme_moe.system.progress import track

    assert job.source is not None
    texts = {recording.id: recording.text for recording in recordings}
    words = pronounce(texts, lexicon, job.source, job.unknown_words, job.notes)
    cuts = []
    for recording in track(recordings, "Reading recordings", job.progress):
        if recording.id not in words:
            continue
        if not words[recording.id]:
            job.notes.add("utterances without words, left out", recording.text.where)
            continue
        audio = read_header(recording.id, recording.audio, recording.text.where)
        utterance = Utterance(
            id=recording.id,
            speaker=recording.speaker,
            sex=recording.sex,
            text=recording.text.value,
            phonemes=first_pronunciation(words[recording.id]),
            pronunciations=words[recording.id],
            audio=audio,
        )
        cuts.append(make_cut(utterance))
    return cuts
