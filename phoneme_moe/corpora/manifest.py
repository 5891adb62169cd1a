"""Writing a prepared corpus: converts utterances to Lhotse cuts and writes manifests."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

from phoneme_moe.corpora.alternatives import all_pronunciations, custom_fields, symbols_of
from phoneme_moe.corpora.prepared import DESCRIPTION_FILE, FORMAT_VERSION, SPLITS, cuts_file
from phoneme_moe.errors import InputError
from phoneme_moe.files.writing import write_bytes, write_text
from phoneme_moe.notation.normal_form import normalize_phoneme

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from phoneme_moe.corpora.lexicon import Pronunciations

Splits: TypeAlias = "Mapping[str, Sequence[Cut]]"

WORD_LENGTH = 3
"""Median number of letters from which symbols are probably words; phonemes have 1 or 2."""


@dataclass(frozen=True)
class AudioFile:
    """An audio file, as described by its header.

    Attributes:
        id: Identifier of the recording; unique in the corpus.
        path: Absolute path, or for synthesised audio relative to the corpus folder.
        sampling_rate: Samples per second.
        num_samples: Length of the file in samples.
        num_channels: Number of channels.
    """

    id: str
    path: Path
    sampling_rate: int
    num_samples: int
    num_channels: int = 1


@dataclass(frozen=True)
class Utterance:
    """An utterance, before conversion to a cut.

    Attributes:
        id: Identifier of the utterance; unique in the corpus.
        speaker: Name of the speaker.
        sex: ``"M"``, ``"F"``, or None if unknown.
        text: Orthographic transcript.
        phonemes: Phonemic transcript.
        audio: The audio file.
        start: Start in the file, in seconds.
        end: End in the file, in seconds; None for the end of the file.
        channel: Number of the channel, from 0; None for all of them, mixed.
        pronunciations: The pronunciations of each word, if they come from a lexicon; the first ones
            are the phonemes.
        times: Start and end of each phoneme in seconds from the utterance's start, if known.
        extra: Further entries of the ``custom`` field of the supervision, such as age.
    """

    id: str
    speaker: str
    sex: str | None
    text: str
    phonemes: tuple[str, ...]
    audio: AudioFile
    start: float = 0.0
    end: float | None = None
    channel: int | None = None
    pronunciations: Pronunciations = ()
    times: tuple[tuple[float, float], ...] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def symbols(self) -> set[str]:
        """The phonemes, those of alternative pronunciations, too."""
        return {*self.phonemes}.union(*all_pronunciations(self.pronunciations))


def read_header(id: str, path: Path, where: str) -> AudioFile:
    """Describes an audio file; several channels are mixed when it is used.

    Args:
        id: Identifier of the recording.
        path: The file.
        where: Table and line that name the file, for error messages.

    Raises:
        InputError: The file is missing, empty or not audio.
    """
    from phoneme_moe.audio.waveform import read_info

    if not path.is_file():
        raise InputError(f"{where}: no such audio file: {path}")
    try:
        info = read_info(path)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if not info.num_samples:
        raise InputError(f"{where}: {path}: holds no samples")
    return AudioFile(id, path, info.sample_rate, info.num_samples, info.num_channels)


def make_cut(utterance: Utterance) -> Cut:
    """Converts an utterance to a Lhotse cut with exactly one supervision.

    Phonemes are in their normal form (``notation.normal_form``).
    """
    from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment
    from lhotse.supervision import AlignmentItem

    audio = utterance.audio
    phonemes = tuple(map(normalize_phoneme, utterance.phonemes))
    alternatives = custom_fields(utterance.pronunciations) if utterance.pronunciations else {}
    file_duration = audio.num_samples / audio.sampling_rate
    # A recording that lists a single channel is mixed from all channels of its file.
    channels = [0] if utterance.channel is None else list(range(audio.num_channels))
    recording = Recording(
        id=audio.id,
        sources=[AudioSource(type="file", channels=channels, source=str(audio.path))],
        sampling_rate=audio.sampling_rate,
        num_samples=audio.num_samples,
        duration=file_duration,
    )
    end = file_duration if utterance.end is None else utterance.end
    duration = round(end - utterance.start, 9)
    alignment = None
    if utterance.times is not None:
        alignment = {
            "phoneme": [
                AlignmentItem(symbol=phoneme, start=start, duration=round(stop - start, 9))
                for phoneme, (start, stop) in zip(phonemes, utterance.times, strict=True)
            ]
        }
    supervision = SupervisionSegment(
        id=utterance.id,
        recording_id=audio.id,
        start=0.0,  # times in a cut are relative to the start of the cut
        duration=duration,
        channel=utterance.channel or 0,
        text=utterance.text,
        speaker=utterance.speaker,
        gender=utterance.sex,
        custom={"phonemes": list(phonemes), **alternatives, **utterance.extra},
        alignment=alignment,
    )
    return MonoCut(
        id=utterance.id,
        start=utterance.start,
        duration=duration,
        channel=utterance.channel or 0,
        recording=recording,
        supervisions=[supervision],
    )


def write_corpus(
    folder: Path,
    name: str,
    splits: Splits,
    source: Path | None,
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> None:
    """Writes the cuts, and finally ``corpus.json``, which marks the folder as prepared.

    Args:
        folder: The folder of the corpus.
        name: Its name.
        splits: The cuts of every split.
        source: Folder or file with the user's data, if any.
        settings: All settings that determine the result.
        notes: What was left out or changed, in one line each.

    Raises:
        InputError: A split is empty, or two utterances have the same id.
    """
    seen: dict[str, str] = {}
    sexes: dict[str, str | None] = {}
    phonemes: set[str] = set()
    counts: dict[str, dict[str, float]] = {}
    for split in SPLITS:
        cuts = splits[split]
        if not cuts:
            raise InputError(f"corpus {name!r}: no utterances for the split {split!r}")
        for cut in cuts:
            if cut.id in seen:
                raise InputError(
                    f"corpus {name!r}: utterance {cut.id!r} is in {seen[cut.id]!r} "
                    f"and again in {split!r}; ids must be unique"
                )
            seen[cut.id] = split
            supervision = cut.supervisions[0]
            sexes[supervision.speaker] = supervision.gender
            phonemes |= symbols_of(supervision.custom)
        counts[split] = count(cuts)
        write_bytes(cuts_file(folder, split), _jsonl(cuts), durable=True)
    description = {
        "name": name,
        "format_version": FORMAT_VERSION,
        "source": None if source is None else str(source),
        "settings": dict(settings),
        "splits": counts,
        "notes": [*notes, *_suspicions(phonemes)],
        "phonemes": sorted(phonemes),
        "speakers": dict(sorted(sexes.items())),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    write_text(folder / DESCRIPTION_FILE, text + "\n", durable=True)


def _suspicions(phonemes: Collection[str]) -> list[str]:
    """A note if what should be phonemes is probably words."""
    letters = [symbol for symbol in phonemes if symbol.isalpha()]
    if not letters or median(map(len, letters)) < WORD_LENGTH:
        return []
    longest = sorted(sorted(letters), key=len, reverse=True)[:3]
    return [
        f"the phonemes look like words: {', '.join(longest)}; if they are, prepare the corpus "
        "again with a lexicon"
    ]


def _jsonl(cuts: Iterable[Cut]) -> bytes:
    """Cuts as Lhotse writes them, but compressed without the time, to the same bytes each time."""
    lines = (json.dumps(cut.to_dict(), ensure_ascii=False) + "\n" for cut in cuts)
    return gzip.compress("".join(lines).encode(), mtime=0)


def count(cuts: Iterable[Cut]) -> dict[str, float]:
    """Counts the speakers, utterances, seconds and phonemes of a split."""
    speakers: Counter[str] = Counter()
    seconds = 0.0
    phonemes = 0
    for cut in cuts:
        supervision = cut.supervisions[0]
        speakers[supervision.speaker] += 1
        seconds += cut.duration
        phonemes += len((supervision.custom or {}).get("phonemes") or ())
    return {
        "speakers": len(speakers),
        "utterances": speakers.total(),
        "seconds": round(seconds, 2),
        "phonemes": phonemes,
    }


def fingerprint(files: Iterable[Path]) -> str:
    """Short hash of the contents of files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
