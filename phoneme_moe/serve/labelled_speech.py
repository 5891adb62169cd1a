"""Corrected utterances: recordings with phonemes that a person confirmed, as ``adapt`` takes."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from phoneme_moe.audio.waveform import Samples
from phoneme_moe.decoding.decoder import Segment
from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import Document
from phoneme_moe.files.writing import write_bytes, write_text
from phoneme_moe.transcription.transcript import Transcript, whole_millisecond_edges
from phoneme_moe.transcription.writers.textgrid import textgrid

MAX_SEGMENTS = 20_000
"""Most phonemes of an utterance."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class SegmentInput(Document):
    """A phoneme with its times, in seconds."""

    phoneme: str = Field(min_length=1, max_length=40)
    start: float = Field(ge=0)
    end: float = Field(gt=0)


class UtteranceInput(Document):
    """The phonemes of an utterance, in order."""

    segments: list[SegmentInput] = Field(min_length=1, max_length=MAX_SEGMENTS)


@dataclass(frozen=True)
class LabelledUtterance:
    """A recording and its phonemes.

    Attributes:
        recording: The recording.
        segments: Its phonemes in order; none overlaps the next or ends after the recording.
    """

    recording: Samples
    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, recording: Samples, utterance: UtteranceInput) -> LabelledUtterance:
        """Checks the phonemes of a recording.

        Raises:
            InputError: Times overlap, or end after the recording.
        """
        duration = len(np.asarray(recording.samples)) / recording.sample_rate
        segments, end = [], 0.0
        for number, segment in enumerate(utterance.segments, 1):
            # A page rounds to the millisecond.
            if segment.start < end - 0.001 or segment.end <= segment.start:
                raise InputError(
                    f"{recording.name}: phoneme {number} ({segment.phoneme}): found "
                    f"{segment.start:.3f} to {segment.end:.3f} s, expected it after {end:.3f} s"
                )
            end = segment.end
            segments.append(
                Segment(
                    segment.phoneme,
                    min(segment.start, duration),
                    min(segment.end, duration),
                    1.0,
                )
            )
        if end > duration + 0.01:
            raise InputError(
                f"{recording.name}: phonemes end at {end:.3f} s, expected at most {duration:.3f} s"
            )
        return cls(recording, tuple(segments))

    def textgrid(self) -> str:
        """A TextGrid with a tier ``phonemes``."""
        duration = len(np.asarray(self.recording.samples)) / self.recording.sample_rate
        edges = whole_millisecond_edges(self.segments, duration)
        return textgrid({"phonemes": (edges, [s.phoneme for s in self.segments])}, duration)

    def wav(self) -> bytes:
        """The recording as a WAV file."""
        return wav_bytes(self.recording)


def wav_bytes(recording: Samples) -> bytes:
    """A recording as a WAV file of 16 bits."""
    import soundfile

    buffer = io.BytesIO()
    samples = np.clip(np.asarray(recording.samples), -1.0, 1.0)
    soundfile.write(buffer, samples, recording.sample_rate, "PCM_16", format="WAV")
    return buffer.getvalue()


def speaker_name(name: str) -> str:
    """A speaker's name as it may name a folder and an expert.

    Raises:
        InputError: It has other characters than letters, digits, - and _.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"speaker: found {name[:60]!r}, expected up to 40 letters, digits, - and _"
        )
    return name


def write_labelled(utterances: Sequence[LabelledUtterance], folder: Path) -> None:
    """Writes numbered WAV files with TextGrids beside them, after those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    first = 1 + max((int(p.stem) for p in folder.glob("*.wav") if p.stem.isdigit()), default=0)
    for number, utterance in enumerate(utterances, first):
        # The labels first: a recording without labels would stop adapt.
        write_text(folder / f"{number:04}.TextGrid", utterance.textgrid())
        write_bytes(folder / f"{number:04}.wav", utterance.wav())


def zip_labelled(utterances: Sequence[LabelledUtterance], speaker: str) -> bytes:
    """The same files in a ZIP archive, in a folder of the speaker's name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, utterance in enumerate(utterances, 1):
            archive.writestr(f"{speaker}/{number:04}.TextGrid", utterance.textgrid())
            archive.writestr(f"{speaker}/{number:04}.wav", utterance.wav())
    return buffer.getvalue()


def as_transcript(
    utterance: LabelledUtterance, run: str, recipe: str, symbols: str | None = None
) -> Transcript:
    """Corrected phonemes as a transcript, which every output format takes."""
    recording = utterance.recording
    return Transcript(
        path=Path(recording.name),
        duration=len(np.asarray(recording.samples)) / recording.sample_rate,
        segments=utterance.segments,
        silences=(),
        routing={},
        run=run,
        recipe=recipe,
        symbols=symbols,
    )
