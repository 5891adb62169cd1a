"""Output formats of alignments: transcripts with goodness of pronunciation and words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from phoneme_moe.csv_text import csv_text
from phoneme_moe.transcription.transcript import whole_millisecond_edges
from phoneme_moe.transcription.writers.documents import alignment_to_json
from phoneme_moe.transcription.writers.textgrid import textgrid
from phoneme_moe.transcription.writers.transcripts import FORMATS, to_textgrid_tiers

if TYPE_CHECKING:
    from phoneme_moe.transcription.align import Alignment  # imports torch


def to_table(alignment: Alignment) -> str:
    """A table to read in the terminal."""
    lines = [f"{'phoneme':<8} {'start':>8} {'end':>8} {'confidence':>10} {'goodness':>9}  best"]
    transcript = alignment.transcript
    edges = whole_millisecond_edges(transcript.segments, transcript.duration)
    for segment, (start, end), goodness, best in zip(
        transcript.segments, edges, alignment.goodness, alignment.best, strict=True
    ):
        other = "" if best == segment.phoneme else (best or "(none)")
        lines.append(
            f"{segment.phoneme:<8} {start / 1000:>8.3f} {end / 1000:>8.3f} "
            f"{segment.confidence:>10.2f} {goodness:>9.2f}  {other}".rstrip()
        )
    return "\n".join(lines) + "\n"


def to_csv(alignment: Alignment) -> str:
    """One row per phoneme."""
    rows = [["file", "phoneme", "start", "end", "confidence", "goodness", "best"]]
    transcript = alignment.transcript
    edges = whole_millisecond_edges(transcript.segments, transcript.duration)
    for segment, (start, end), goodness, best in zip(
        transcript.segments, edges, alignment.goodness, alignment.best, strict=True
    ):
        times = [f"{start / 1000:.3f}", f"{end / 1000:.3f}"]
        scores = [f"{segment.confidence:.4f}", f"{goodness:.4f}"]
        rows.append([str(transcript.path), segment.phoneme, *times, *scores, best])
    return csv_text(rows)


def to_textgrid(alignment: Alignment) -> str:
    """The transcript's TextGrid, with a tier of words above and one of goodness below."""
    transcript = alignment.transcript
    edges, tiers = to_textgrid_tiers(transcript)
    tiers["goodness"] = (edges, [f"{goodness:.2f}" for goodness in alignment.goodness])
    if alignment.words:
        # Words begin and end with phonemes, whose edges are already rounded.
        starts = {round(s.start, 6): e[0] for s, e in zip(transcript.segments, edges, strict=True)}
        stops = {round(s.end, 6): e[1] for s, e in zip(transcript.segments, edges, strict=True)}
        ends = [
            (starts[round(word.start, 6)], stops[round(word.end, 6)]) for word in alignment.words
        ]
        tiers = {"words": (ends, [word.word for word in alignment.words]), **tiers}
    return textgrid(tiers, transcript.duration)


def _transcript_writer(name: str) -> Callable[[Alignment], str]:
    format = FORMATS[name]
    return lambda alignment: format.header + format.body(alignment.transcript)


ALIGNMENT_FORMATS: dict[str, Callable[[Alignment], str]] = {
    "table": to_table,
    "json": alignment_to_json,
    "csv": to_csv,
    "textgrid": to_textgrid,
    "ctm": _transcript_writer("ctm"),
    "srt": _transcript_writer("srt"),
    "vtt": _transcript_writer("vtt"),
}
"""Writers by the names that the option ``--format`` takes."""
