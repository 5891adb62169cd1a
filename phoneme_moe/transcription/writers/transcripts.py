"""Transcripts as text that other tools open.

Every format has the same whole milliseconds, so that no two disagree.
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from phoneme_moe.decoding.decoder import Segment
from phoneme_moe.errors import InputError
from phoneme_moe.files import write_text
from phoneme_moe.transcription.transcript import Transcript
from phoneme_moe.transcription.writers.milliseconds import rounded
from phoneme_moe.transcription.writers.textgrid import Tiers, textgrid

TRANSCRIPT_VERSION = 2
"""Of JSON (docs/schemas/transcript.schema.json)."""

LEAST_WEIGHT = 0.001
"""Experts with less of a segment are left out of JSON."""

CUE_PHONEMES, CUE_SECONDS = 8, 3.0
"""Most of a subtitle; a silence ends one too."""


@dataclass(frozen=True)
class Format:
    """A way to write transcripts.

    Attributes:
        suffix: Of files.
        body: Text of one transcript, ended by a newline.
        header: Comes once before all of them on standard output, and in every file.
        indented: The same as ``body`` for a file, where that differs.
    """

    suffix: str
    body: Callable[[Transcript], str]
    header: str = ""
    indented: Callable[[Transcript], str] | None = None

    def write(self, transcript: Transcript, stream: TextIO, first: bool = True) -> None:
        """Writes to a stream that may hold several transcripts."""
        stream.write((self.header if first else "") + self.body(transcript))

    def save(self, transcript: Transcript, path: Path) -> None:
        """Writes a file whole or not at all."""
        write_text(path, self.header + (self.indented or self.body)(transcript))


def file_name(path: Path) -> str:
    """A path as UTF-8 can hold it: Linux lets names be any bytes."""
    return os.fsencode(path).decode(errors="replace")


def to_dict(transcript: Transcript) -> dict[str, Any]:
    """Plain data; times in seconds to the millisecond, shares to 4 places."""
    edges = rounded(transcript.segments, transcript.duration)
    silences = [(round(start, 3), round(end, 3)) for start, end in transcript.silences]
    return {
        "version": TRANSCRIPT_VERSION,
        "file": file_name(transcript.path),
        "run": transcript.run,
        "recipe": transcript.recipe,
        "fold": transcript.fold,
        "symbols": transcript.symbols,
        "duration": round(transcript.duration, 3),
        "phonemes": list(transcript.phonemes),
        "segments": [
            {
                "phoneme": segment.phoneme,
                "start": start / 1000,
                "end": end / 1000,
                "confidence": round(segment.confidence, 4),
                "experts": {
                    name: round(weight, 4)
                    for name, weight in segment.experts.items()
                    if weight >= LEAST_WEIGHT
                },
            }
            for segment, (start, end) in zip(transcript.segments, edges, strict=True)
        ],
        "silences": [[start, end] for start, end in silences if start < end],
        "routing": {name: round(weight, 4) for name, weight in transcript.routing.items()},
        "alternatives": [
            {"phonemes": list(other.phonemes), "score": round(other.score, 4)}
            for other in transcript.alternatives
        ],
    }


def to_json(transcript: Transcript) -> str:
    """One line of JSON."""
    return json.dumps(to_dict(transcript), ensure_ascii=False) + "\n"


def _to_indented_json(transcript: Transcript) -> str:
    return json.dumps(to_dict(transcript), ensure_ascii=False, indent=1) + "\n"


def to_text(transcript: Transcript) -> str:
    """One line: the file, a tab, the phonemes with spaces between."""
    return f"{file_name(transcript.path)}\t{' '.join(transcript.phonemes)}\n"


def to_csv(transcript: Transcript) -> str:
    """A row for each phoneme."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    edges = rounded(transcript.segments, transcript.duration)
    for segment, (start, end) in zip(transcript.segments, edges, strict=True):
        expert, weight = leading_expert(segment)
        rows.writerow(
            [
                file_name(transcript.path),
                segment.phoneme,
                f"{start / 1000:.3f}",
                f"{end / 1000:.3f}",
                f"{segment.confidence:.4f}",
                expert,
                f"{weight:.4f}" if expert else "",
            ]
        )
    return text.getvalue()


CSV_HEADER = "file,phoneme,start,end,confidence,expert,weight\n"


def leading_expert(segment: Segment) -> tuple[str, float]:
    """The expert with the greatest weight, and that; "" without experts."""
    if not segment.experts:
        return "", 0.0
    return max(segment.experts.items(), key=lambda item: item[1])


def to_ctm(transcript: Transcript) -> str:
    """NIST CTM: ``recording channel start duration symbol confidence``."""
    name = "_".join(file_name(Path(transcript.path.stem)).split()) or "-"
    edges = rounded(transcript.segments, transcript.duration)
    return "".join(
        f"{name} 1 {start / 1000:.3f} {(end - start) / 1000:.3f} {segment.phoneme} "
        f"{segment.confidence:.4f}\n"
        for segment, (start, end) in zip(transcript.segments, edges, strict=True)
    )


def to_textgrid(transcript: Transcript) -> str:
    """Praat's long text format; silences are empty intervals."""
    return textgrid(to_textgrid_tiers(transcript)[1], transcript.duration)


def to_textgrid_tiers(transcript: Transcript) -> tuple[list[tuple[int, int]], Tiers]:
    """Times of the phonemes, and the tiers that tell them, their confidence and experts."""
    edges = rounded(transcript.segments, transcript.duration)
    segments = transcript.segments
    tiers: Tiers = {
        "phonemes": (edges, [segment.phoneme for segment in segments]),
        "confidence": (edges, [f"{segment.confidence:.2f}" for segment in segments]),
    }
    # Not by the segments: a file without phonemes has the tiers of those beside it.
    if len(transcript.routing) > 1:
        tiers["expert"] = (edges, [leading_expert(segment)[0] for segment in segments])
    return edges, tiers


def _cues(transcript: Transcript) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds, and the phonemes, of every subtitle."""
    edges = rounded(transcript.segments, transcript.duration)
    cues: list[list[int]] = []
    for number, (start, end) in enumerate(edges):
        own = cues[-1] if cues else []
        adjoins = bool(own) and start == edges[own[-1]][1]
        if adjoins and len(own) < CUE_PHONEMES and end - edges[own[0]][0] <= 1000 * CUE_SECONDS:
            own.append(number)
        else:
            cues.append([number])
    segments = transcript.segments
    return [
        (edges[own[0]][0], edges[own[-1]][1], " ".join(segments[i].phoneme for i in own))
        for own in cues
    ]


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{rest:03}"


def to_srt(transcript: Transcript) -> str:
    """SubRip subtitles."""
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n\n"
        for number, (start, end, text) in enumerate(_cues(transcript), 1)
    )


def to_vtt(transcript: Transcript) -> str:
    """WebVTT subtitles, without the header."""
    return "".join(
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{html.escape(text, quote=False)}\n\n"
        for start, end, text in _cues(transcript)
    )


FORMATS = {
    "txt": Format(".txt", to_text),
    "json": Format(".json", to_json, indented=_to_indented_json),
    "jsonl": Format(".jsonl", to_json),
    "csv": Format(".csv", to_csv, header=CSV_HEADER),
    "ctm": Format(".ctm", to_ctm),
    "textgrid": Format(".TextGrid", to_textgrid),
    "srt": Format(".srt", to_srt),
    "vtt": Format(".vtt", to_vtt, header="WEBVTT\n\n"),
}
"""By the name that ``--format`` takes."""


def output_names(files: Sequence[Path], suffix: str) -> list[str]:
    """A file name for each transcript, none twice.

    A recording's own name with another ending; where two recordings share it, the whole path.

    Args:
        files: The recordings.
        suffix: Ending of the transcripts, ``.json`` for one.

    Raises:
        InputError: A recording was named twice.
    """
    repeated = [path for path, count in Counter(files).items() if count > 1]
    if repeated:
        raise InputError(f"{repeated[0]}: named twice; expected every file once")
    stems = Counter(path.stem for path in files)
    names: list[str] = []
    taken: set[str] = set()
    for path in files:
        whole = "_".join(part for part in path.parts if part not in {"/", "..", "."})
        stem = path.stem if stems[path.stem] == 1 else whole
        if stem == "-":
            stem = "stdin"
        # Different paths can still read the same: a/b.wav and a_b.wav.
        number = 2
        name = stem + suffix
        while name.lower() in taken:
            name = f"{stem}_{number}{suffix}"
            number += 1
        taken.add(name.lower())
        names.append(name)
    return names
