"""Output formats of alignments: transcripts with goodness of pronunciation, scores and words."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from phoneme_moe.files.csv_text import csv_text
from phoneme_moe.transcription.transcript import whole_millisecond_edges
from phoneme_moe.transcription.writers.textgrid import textgrid
from phoneme_moe.transcription.writers.transcripts import to_textgrid_tiers

if TYPE_CHECKING:
    from phoneme_moe.transcription.align import Alignment  # imports torch


WITHIN = 0.02
"""Difference of onsets in seconds that labellers agree to; the table says how many are within."""


def to_table(alignment: Alignment) -> str:
    """A table to read in the terminal, with differences in ms to times that were labelled.

    Below it stand the scores of the words and of the sentence.
    """
    transcript = alignment.transcript
    edges = whole_millisecond_edges(transcript.segments, transcript.duration)
    labelled = _labelled_edges(alignment)
    heading = f"{'dstart':>7} {'dend':>7} " if labelled else ""
    scored = "" if alignment.scores is None else f" {'score':>5}"
    heading += f"{'confidence':>10} {'goodness':>9}{scored}  best"
    lines = [f"{'phoneme':<8} {'start':>8} {'end':>8} {heading}"]
    for index, (segment, (start, end), goodness, best) in enumerate(
        zip(transcript.segments, edges, alignment.goodness, alignment.best, strict=True)
    ):
        other = "" if best == segment.phoneme else (best or "(none)")
        differences = ""
        if labelled:
            differences = f"{start - labelled[index][0]:>+7} {end - labelled[index][1]:>+7} "
        score = "" if alignment.scores is None else f" {alignment.scores[index]:>5.0f}"
        lines.append(
            f"{segment.phoneme:<8} {start / 1000:>8.3f} {end / 1000:>8.3f} {differences}"
            f"{segment.confidence:>10.2f} {goodness:>9.2f}{score}  {other}".rstrip()
        )
    if alignment.score is not None:
        words = [f"{word.word} {word.score:.0f}" for word in alignment.words]
        lines.append(f"score {alignment.score:.0f}" + (": " if words else "") + ", ".join(words))
    if labelled:
        sizes = [abs(difference) for difference in alignment.onset_differences()]
        share = sum(size <= WITHIN for size in sizes) / len(sizes)
        lines.append(
            f"{len(sizes)} onsets: median difference {1000 * median(sizes):.0f} ms, "
            f"{100 * share:.0f} % within {1000 * WITHIN:.0f} ms"
        )
    return "\n".join(lines) + "\n"


def _labelled_edges(alignment: Alignment) -> list[tuple[int, int]] | None:
    """Labelled start and end of each phoneme in whole milliseconds."""
    if alignment.labelled is None:
        return None
    return [(round(1000 * start), round(1000 * end)) for start, end in alignment.labelled]


def to_csv(alignment: Alignment) -> str:
    """One row per phoneme; without calibration, the score is empty."""
    labelled = _labelled_edges(alignment)
    more = ["labelled_start", "labelled_end"] if labelled else []
    columns = ["phoneme", "start", "end", "confidence", "goodness", "best", *more, "score"]
    rows = [["file", *columns]]
    transcript = alignment.transcript
    edges = whole_millisecond_edges(transcript.segments, transcript.duration)
    for index, (segment, (start, end), goodness, best) in enumerate(
        zip(transcript.segments, edges, alignment.goodness, alignment.best, strict=True)
    ):
        times = [f"{start / 1000:.3f}", f"{end / 1000:.3f}"]
        scores = [f"{segment.confidence:.4f}", f"{goodness:.4f}"]
        score = "" if alignment.scores is None else f"{alignment.scores[index]:.1f}"
        more = [f"{time / 1000:.3f}" for time in labelled[index]] if labelled else []
        rows.append([str(transcript.path), segment.phoneme, *times, *scores, best, *more, score])
    return csv_text(rows)


def to_textgrid(alignment: Alignment) -> str:
    """The transcript's TextGrid, with a tier of words above, and goodness and scores below.

    Phonemes with times that were labelled are a tier as well, to compare.
    """
    transcript = alignment.transcript
    edges, tiers = to_textgrid_tiers(transcript)
    tiers["goodness"] = (edges, [f"{goodness:.2f}" for goodness in alignment.goodness])
    if alignment.scores is not None:
        tiers["score"] = (edges, [f"{score:.0f}" for score in alignment.scores])
    labelled = _labelled_edges(alignment)
    if labelled:
        spans = zip(labelled, transcript.phonemes, strict=True)
        kept = [(span, phoneme) for span, phoneme in spans if span[0] < span[1]]
        tiers["labelled"] = ([span for span, _ in kept], [phoneme for _, phoneme in kept])
    if alignment.words:
        # Words begin and end with phonemes, whose edges are already rounded.
        starts = {round(s.start, 6): e[0] for s, e in zip(transcript.segments, edges, strict=True)}
        stops = {round(s.end, 6): e[1] for s, e in zip(transcript.segments, edges, strict=True)}
        ends = [
            (starts[round(word.start, 6)], stops[round(word.end, 6)]) for word in alignment.words
        ]
        tiers = {"words": (ends, [word.word for word in alignment.words]), **tiers}
    return textgrid(tiers, transcript.duration)
