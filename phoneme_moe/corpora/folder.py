"""Corpus ``folder``: recordings with a label file of the same name beside each.

The speaker is the folder of the recordings (``ann/1.wav``), or of files that lie in no folder the
beginning of their name (``ann_1.wav``). Folders train, dev and test are the splits, if there are.
Label files are TextGrids, HTK labels or texts (``labels.recordings``).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.audio.finding import audio_files
from phoneme_moe.corpora.prepared import SPLITS, UNLABELLED
from phoneme_moe.errors import ArgumentError, InputError, suggest
from phoneme_moe.files.writing import path_text
from phoneme_moe.labels.recordings import Labels, label_files, read_phonemes, read_words
from phoneme_moe.notation.convert import NOTATIONS, convert_phoneme, notation_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from phoneme_moe.corpora.lexicon import Pronunciations
    from phoneme_moe.corpora.manifest import Splits, Utterance
    from phoneme_moe.corpora.registry import Preparation
    from phoneme_moe.corpora.tables import Entry

MAX_NAMED = 5
"""Most recordings that a note names."""


@dataclass(frozen=True)
class _Recording:
    """A recording with its label file.

    Attributes:
        id: Path from the source folder without the suffix, joined by hyphens.
        speaker: Name of the speaker.
        audio: The audio file.
        labels: The label file; None if there is none.
    """

    id: str
    speaker: str
    audio: Path
    labels: Path | None


def settings(job: Preparation) -> dict[str, Any]:
    """Names and sizes of the recordings, contents of the labels, and the options.

    Raises:
        InputError: The folder has no recordings with labels, or an option is unknown.
    """
    from phoneme_moe.corpora.manifest import fingerprint
    from phoneme_moe.corpora.transcribed import lexicon_settings

    if job.symbols is not None and job.symbols not in NOTATIONS:
        raise ArgumentError("symbols", f"found {job.symbols!r}{suggest(job.symbols, NOTATIONS)}")
    recordings = [one for part in _recordings(job.source).values() for one in part]
    digest = hashlib.sha256()
    for recording in recordings:
        digest.update(os.fsencode(recording.audio) + b"\0%d\0" % _size(recording.audio))
    return {
        "recordings": digest.hexdigest()[:16],
        "labels": fingerprint(one.labels for one in recordings if one.labels is not None),
        "tier": job.tier,
        "symbols": job.symbols,
        **lexicon_settings(job),
    }


def prepare(job: Preparation) -> Splits:
    """Prepares the folders train, dev and test, or one folder, split within each speaker.

    Raises:
        InputError: A label file, the lexicon or a recording cannot be used; the message names it.
    """
    from phoneme_moe.corpora.manifest import make_cut
    from phoneme_moe.corpora.splits import split_within_speakers

    utterances = {
        split: _utterances(recordings, job)
        for split, recordings in _recordings(job.source, job).items()
    }
    symbols = {p for part in utterances.values() for u in part for p in u.symbols}
    names = _converted(symbols, job)
    splits = {
        split: [make_cut(_with_names(utterance, names)) for utterance in part]
        for split, part in utterances.items()
    }
    return split_within_speakers(splits["all"]) if "all" in splits else splits


def read_texts(source: Path, tier: str | None = None) -> dict[str, Entry]:
    """The words of every recording, by its id.

    Args:
        source: The folder.
        tier: Tier of TextGrids.

    Raises:
        InputError: The folder has no recordings with labels, or a label file cannot be used.
    """
    recordings = [one for part in _recordings(source).values() for one in part]
    return {one.id: _text(read_words(one.labels, tier)) for one in recordings if one.labels}


def _recordings(source: Path | None, job: Preparation | None = None) -> dict[str, list[_Recording]]:
    """Recordings of each split; the key is ``"all"`` for a folder without splits."""
    assert source is not None
    if not source.is_dir():
        raise InputError(f"{source}: is a file, expected a folder of recordings")
    parts = [name for name in SPLITS if (source / name).is_dir()]
    if parts and len(parts) < len(SPLITS):
        missing = ", ".join(name for name in SPLITS if name not in parts)
        raise InputError(
            f"{source}: found folders {', '.join(parts)}, but not {missing}; expected all three, "
            "or other names"
        )
    folders = {name: source / name for name in SPLITS} if parts else {"all": source}
    found = {}
    for split, folder in folders.items():
        files = audio_files(folder)
        readable = [file for file in files if _is_unicode(file)]
        labels = label_files(readable)
        found[split] = [
            _Recording(_id(file, source), _speaker(file, folder), file, labels.get(file))
            for file in readable
        ]
        if job is not None:
            _note(job, "recordings with names that are not UTF-8", set(files) - set(readable))
            _note(job, "recordings without labels", set(readable) - set(labels))
        _check(found[split], folder)
    return found


def _check(recordings: Sequence[_Recording], folder: Path) -> None:
    from phoneme_moe.corpora.tables import contents_of

    if not any(recording.labels for recording in recordings):
        raise InputError(
            f"{folder}: found {len(recordings)} recordings, none with a label file; expected "
            f"NAME.TextGrid, NAME.lab or NAME.txt beside each (found {contents_of(folder)})"
        )
    audio: dict[str, Path] = {}
    for recording in recordings:
        other = audio.setdefault(recording.id, recording.audio)
        if other != recording.audio:
            raise InputError(
                f"{recording.audio}: has the same name as {other}; expected one recording with it"
            )
    unnamed = [r.audio for r in recordings if r.speaker == UNLABELLED]
    if unnamed and len(unnamed) < len(recordings):
        raise InputError(
            f"{unnamed[0]}: has no speaker, unlike other recordings; expected SPEAKER/NAME or "
            "SPEAKER_NAME"
        )


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:  # a link to nowhere
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error


def _is_unicode(file: Path) -> bool:
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return True


def _id(file: Path, source: Path) -> str:
    return "-".join(file.relative_to(source).with_suffix("").parts)


def _speaker(file: Path, folder: Path) -> str:
    first, *rest = file.relative_to(folder).parts
    if rest:
        return first
    name, underscore, _ = first.partition("_")
    return name if underscore and name else UNLABELLED


def _note(job: Preparation, what: str, files: Iterable[Path]) -> None:
    """Counts recordings that are left out, and names the first ones."""
    assert job.source is not None
    paths = sorted(file.relative_to(job.source) for file in files)
    names = [path_text(path) for path in paths]
    if names:
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        job.notes.add(f"{what}, left out", ", ".join(names[:MAX_NAMED]) + more, len(names))


def _text(words: Labels) -> Entry:
    from phoneme_moe.corpora.tables import Entry

    return Entry(" ".join(words.symbols), str(words.file))


def _utterances(recordings: Sequence[_Recording], job: Preparation) -> list[Utterance]:
    from phoneme_moe.corpora.alternatives import first_pronunciation
    from phoneme_moe.corpora.lexicon import pronounce, read_lexicon, refuse_words
    from phoneme_moe.corpora.manifest import Utterance, read_header
    from phoneme_moe.system.progress import track

    assert job.source is not None
    labelled = {one.id: (one, one.labels) for one in recordings if one.labels is not None}
    pronunciations: dict[str, Pronunciations] = {}
    if job.lexicon is None:
        labels = {id: read_phonemes(file, job.tier) for id, (_, file) in labelled.items()}
        texts = {id: _text(found) for id, found in labels.items()}
        refuse_words((found.symbols for found in labels.values()), job.source)
    else:
        words = {id: read_words(file, job.tier) for id, (_, file) in labelled.items()}
        texts = {id: _text(found) for id, found in words.items()}
        lexicon = read_lexicon(job.lexicon)
        pronunciations = pronounce(texts, lexicon, job.source, job.unknown_words, job.notes)
        labels = {
            id: Labels(words[id].file, first_pronunciation(its_words))
            for id, its_words in pronunciations.items()
        }
    spoken = {id: found for id, found in labels.items() if found.symbols}
    empty = [labelled[id][0].audio for id in labels if id not in spoken]
    _note(job, "recordings with empty labels", empty)
    utterances = []
    for id, found in track(spoken.items(), "Reading recordings", job.progress, total=len(spoken)):
        recording = labelled[id][0]
        audio = read_header(id, recording.audio, str(found.file))
        utterances.append(
            Utterance(
                id=id,
                speaker=recording.speaker,
                sex=None,
                text=texts[id].value,
                phonemes=found.symbols,
                pronunciations=pronunciations.get(id, ()),
                audio=audio,
                times=found.within(audio.num_samples / audio.sampling_rate).times,
            )
        )
    return utterances


def _converted(phonemes: set[str], job: Preparation) -> dict[str, str]:
    """The name of each phoneme in the notation that was asked for."""
    if job.symbols is None:
        return {phoneme: phoneme for phoneme in phonemes}
    source = notation_of(phonemes)
    try:
        return {p: convert_phoneme(p, source, job.symbols) for p in sorted(phonemes)}
    except InputError as error:
        notation = "" if source is None else f"the labels are {source}, but "
        raise InputError(f"{job.source}: {notation}{error}") from error


def _with_names(utterance: Utterance, names: dict[str, str]) -> Utterance:
    return replace(
        utterance,
        phonemes=tuple(names[phoneme] for phoneme in utterance.phonemes),
        pronunciations=tuple(
            tuple(tuple(names[phoneme] for phoneme in p) for p in word)
            for word in utterance.pronunciations
        ),
    )
