"""Alignments as text: those of transcripts, with goodness of pronunciation and words."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

from phoneme_moe.transcription.align import Alignment
from phoneme_moe.transcription.writers.milliseconds import rounded
from phoneme_moe.transcription.writers.textgrid import textgrid
from phoneme_moe.transcription.writers.transcripts import (
    FORMATS,
    file_name,
    to_dict,
    to_textgrid_tiers,
)


def to_table(alignment: Alignment) -> str:
    """Columns for people."""
    lines = [f"{'phoneme':<8} {'start':>8} {'end':>8} {'confidence':>10} {'goodness':>9}  best"]
    transcript = alignment.transcript
    edges = rounded(transcript.segments, transcript.duration)
    for segment, (start, end), goodness, best in zip(
        transcript.segments, edges, alignment.goodness, alignment.likeliest, strict=True
    ):
        other = "" if best == segment.phoneme else (best or "(none)")
        lines.append(
            f"{segment.phoneme:<8} {start / 1000:>8.3f} {end / 1000:>8.3f} "
            f"{segment.confidence:>10.2f} {goodness:>9.2f}  {other}".rstrip()
        )
    return "\n".join(lines) + "\n"


def to_json(alignment: Alignment) -> str:
    """The transcript's JSON, with ``goodness`` and ``best`` of every segment, and the words."""
    data = to_dict(alignment.transcript)
    for segment, goodness, best in zip(
        data["segments"], alignment.goodness, alignment.likeliest, strict=True
    ):
        segment["goodness"] = round(goodness, 4)
        segment["best"] = best
    data["words"] = [
        {"word": word.word, "start": round(word.start, 3), "end": round(word.end, 3)}
        for word in alignment.words
    ]
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def to_csv(alignment: Alignment) -> str:
    """A row for each phoneme."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "phoneme", "start", "end", "confidence", "goodness", "best"])
    transcript = alignment.transcript
    edges = rounded(transcript.segments, transcript.duration)
    for segment, (start, end), goodness, best in zip(
        transcript.segments, edges, alignment.goodness, alignment.likeliest, strict=True
    ):
        times = [f"{start / 1000:.3f}", f"{end / 1000:.3f}"]
        sure = [f"{segment.confidence:.4f}", f"{goodness:.4f}"]
        rows.writerow([file_name(transcript.path), segment.phoneme, *times, *sure, best])
    return text.getvalue()


def to_textgrid(alignment: Alignment) -> str:
    """The transcript's TextGrid, with the words above and the goodness below."""
    transcript = alignment.transcript
    edges, tiers = to_textgrid_tiers(transcript)
    tiers["goodness"] = (edges, [f"{goodness:.2f}" for goodness in alignment.goodness])
    if alignment.words:
        # A word is as long as its phonemes, which are rounded already.
        starts = {round(s.start, 6): e[0] for s, e in zip(transcript.segments, edges, strict=True)}
        stops = {round(s.end, 6): e[1] for s, e in zip(transcript.segments, edges, strict=True)}
        ends = [
            (starts[round(word.start, 6)], stops[round(word.end, 6)]) for word in alignment.words
        ]
        tiers = {"words": (ends, [word.word for word in alignment.words]), **tiers}
    return textgrid(tiers, transcript.duration)


def _as_transcript(name: str) -> Callable[[Alignment], str]:
    form = FORMATS[name]
    return lambda alignment: form.header + form.body(alignment.transcript)


ALIGNMENT_FORMATS: dict[str, Callable[[Alignment], str]] = {
    "table": to_table,
    "json": to_json,
    "csv": to_csv,
    "textgrid": to_textgrid,
    "ctm": _as_transcript("ctm"),
    "srt": _as_transcript("srt"),
    "vtt": _as_transcript("vtt"),
}
"""By the name that ``--format`` takes."""
