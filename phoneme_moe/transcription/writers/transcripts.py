"""Output formats of transcripts: text and formats of other tools, in whole milliseconds."""

from __future__ import annotations

import html
from collections.abc import Sequence

from phoneme_moe.decoding.decoder import Segment
from phoneme_moe.files.csv_text import csv_text
from phoneme_moe.system.terminal import printable
from phoneme_moe.transcription.transcript import Transcript, whole_millisecond_edges
from phoneme_moe.transcription.writers.textgrid import Tiers, textgrid

CUE_PHONEMES, CUE_SECONDS = 8, 3.0
"""Most phonemes in a subtitle; a gap between phonemes also ends one."""


def to_text(transcript: Transcript) -> str:
    """One line: the file, a tab, the phonemes separated by spaces."""
    return f"{printable(str(transcript.path))}\t{' '.join(transcript.phonemes)}\n"


def to_csv(transcript: Transcript) -> str:
    """One row per phoneme."""
    rows: list[Sequence[str]] = []
    edges = whole_millisecond_edges(transcript.segments, transcript.duration)
    for segment, (start, end) in zip(transcript.segments, edges, strict=True):
        expert, weight = leading_expert(segment)
        rows.append(
            [
                str(transcript.path),
                segment.phoneme,
                f"{start / 1000:.3f}",
                f"{end / 1000:.3f}",
                f"{segment.confidence:.4f}",
                expert,
                f"{weight:.4f}" if expert else "",
            ]
        )
    return csv_text(rows)


def leading_expert(segment: Segment) -> tuple[str, float]:
    """The expert with the greatest weight, and that weight; "" without experts."""
    if not segment.experts:
        return "", 0.0
    return max(segment.experts.items(), key=lambda item: item[1])


def to_ctm(transcript: Transcript) -> str:
    """NIST CTM: ``recording channel start duration symbol confidence``."""
    name = "_".join(printable(transcript.path.stem).split()) or "-"
    edges = whole_millisecond_edges(transcript.segments, transcript.duration)
    return "".join(
        f"{name} 1 {start / 1000:.3f} {(end - start) / 1000:.3f} {segment.phoneme} "
        f"{segment.confidence:.4f}\n"
        for segment, (start, end) in zip(transcript.segments, edges, strict=True)
    )


def to_textgrid(transcript: Transcript) -> str:
    """Praat's long text format; gaps between phonemes are empty intervals."""
    return textgrid(to_textgrid_tiers(transcript)[1], transcript.duration)


def to_textgrid_tiers(transcript: Transcript) -> tuple[list[tuple[int, int]], Tiers]:
    """Times of the phonemes in milliseconds; tiers of phonemes, confidence and experts."""
    edges = whole_millisecond_edges(transcript.segments, transcript.duration)
    segments = transcript.segments
    tiers: Tiers = {
        "phonemes": (edges, [segment.phoneme for segment in segments]),
        "confidence": (edges, [f"{segment.confidence:.2f}" for segment in segments]),
    }
    # Independent of the segments: a file without phonemes has the same tiers as the others.
    if len(transcript.routing) > 1:
        tiers["expert"] = (edges, [leading_expert(segment)[0] for segment in segments])
    return edges, tiers


def _cues(transcript: Transcript) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds, and phonemes, of every subtitle."""
    edges = whole_millisecond_edges(transcript.segments, transcript.duration)
    cues: list[list[int]] = []
    for number, (start, end) in enumerate(edges):
        cue = cues[-1] if cues else []
        adjoins = bool(cue) and start == edges[cue[-1]][1]
        if adjoins and len(cue) < CUE_PHONEMES and end - edges[cue[0]][0] <= 1000 * CUE_SECONDS:
            cue.append(number)
        else:
            cues.append([number])
    segments = transcript.segments
    return [
        (edges[cue[0]][0], edges[cue[-1]][1], " ".join(segments[i].phoneme for i in cue))
        for cue in cues
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
