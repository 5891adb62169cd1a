"""From what a model says of recordings to transcripts.

Long recordings are cut where nothing is said, so that no step takes more than a piece at a time.

Legend: T frames of posteriors, U feature frames, P outputs, E experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.decoder import Segment, confidences, greedy_decode
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.viterbi import Spans, force_align, share_gaps
from phoneme_moe.transcription.model_spec import (
    Floats,
    ModelOutput,
    ModelSpec,
    Scores,
    side_by_side,
)
from phoneme_moe.transcription.recording import Recording
from phoneme_moe.transcription.transcript import Alternative, Transcript

PIECE_SECONDS = 20.0
"""Longest piece that is decoded at once; it ends at the surest blank of its second half."""

REACH_SECONDS = 0.25
"""A phoneme begins and ends no further from where it is emitted."""

SHORTEST_SECONDS = 0.03
"""What a phoneme lasts at least, where there is room."""

SIDE_BY_SIDE = 64
"""Pieces in a batch."""


Seconds = NDArray[np.floating[Any]]
"""Start and end of each phoneme, shape (phonemes, 2)."""


@dataclass(frozen=True)
class TimedHypothesis:
    """The phonemes of a recording, before they have times in seconds.

    Attributes:
        outputs: Output indices.
        spans: Frames of posteriors in which each is emitted, shape (phonemes, 2).
        times: Feature frames (or of posteriors, without a timing net) of each, shape (phonemes, 2).
        alternatives: Best readings, best first, where they were asked for.
    """

    outputs: list[int]
    spans: Spans
    times: Spans
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class _Piece:
    owner: int
    first: int  # frames of posteriors
    last: int


def decode(
    heard: Sequence[ModelOutput], spec: ModelSpec, beam: int | None = None, nbest: int = 1
) -> list[TimedHypothesis]:
    """Reads phonemes and finds when they were said.

    Args:
        heard: Of each recording by itself, batch size 1.
        spec: Of the model.
        beam: Readings that a beam search with the run's n-gram keeps, 0 for the best path; as the
            run does when left out.
        nbest: How many readings to tell, where there is a beam.
    """
    beam = spec.decoding.beam_for(beam)
    pieces = [piece for owner, own in enumerate(heard) for piece in _cut(owner, own, spec)]
    pieces.sort(key=lambda piece: piece.last - piece.first)
    found: dict[_Piece, TimedHypothesis] = {}
    for first in range(0, len(pieces), SIDE_BY_SIDE):
        batch = pieces[first : first + SIDE_BY_SIDE]
        found.update(zip(batch, _decode_pieces(batch, heard, spec, beam, nbest), strict=True))
    readings = []
    for owner in range(len(heard)):
        own = sorted((p for p in pieces if p.owner == owner), key=lambda piece: piece.first)
        readings.append(_join([(piece, found[piece]) for piece in own], heard[owner], spec))
    return readings


def _cut(owner: int, heard: ModelOutput, spec: ModelSpec) -> Iterator[_Piece]:
    blank = heard.log_posteriors[0, :, BLANK]
    longest = round(PIECE_SECONDS / (spec.feature_seconds * spec.stack))
    first = 0
    while len(blank) - first > longest:
        half = first + longest // 2
        last = half + int(np.argmax(blank[half : first + longest])) + 1
        yield _Piece(owner, first, last)
        first = last
    if len(blank) > first:
        yield _Piece(owner, first, len(blank))


def _decode_pieces(
    pieces: Sequence[_Piece],
    heard: Sequence[ModelOutput],
    spec: ModelSpec,
    beam: int | None,
    nbest: int,
) -> list[TimedHypothesis]:
    said = [heard[p.owner].log_posteriors[0, p.first : p.last] for p in pieces]
    lengths = [len(own) for own in said]
    alternatives: list[tuple[Alternative, ...]] = [()] * len(pieces)
    if beam is None:
        read = [greedy_decode(own) for own in said]
        outputs, spans = [o for o, _ in read], [s for _, s in read]
    else:
        padded = side_by_side(said)
        shifted = []
        for number in range(spec.decoding.shifts_for(beam) - 1):
            later = [_later(piece, heard[piece.owner], number) for piece in pieces]
            shifted.append((side_by_side(later), np.array([len(own) for own in later])))
        several = spec.decoding.search(padded, np.array(lengths), beam, nbest, shifted)
        outputs = [list(hypotheses[0].outputs) for hypotheses in several]
        spans = force_align(padded, lengths, outputs)
        if nbest > 1:
            alternatives = [
                tuple(
                    Alternative(tuple(spec.phonemes.decode(h.outputs)), float(h.score))
                    for h in hypotheses
                )
                for hypotheses in several
            ]
    timing = None
    if heard[0].timing is not None:
        timing = []
        for piece in pieces:
            of_owner = heard[piece.owner].timing
            assert of_owner is not None
            timing.append(of_owner[0, piece.first * spec.stack : piece.last * spec.stack])
    times = find_times(outputs, spans, timing, spec)
    return [
        TimedHypothesis(*parts) for parts in zip(outputs, spans, times, alternatives, strict=True)
    ]


def _later(piece: _Piece, heard: ModelOutput, number: int) -> Floats:
    """A piece in another hearing, which may be a frame longer at the end."""
    own = heard.shifted[number][0]
    ends = piece.last == heard.log_posteriors.shape[1]
    later: Floats = own[piece.first : None if ends else piece.last]
    return later


def find_times(
    outputs: Sequence[Sequence[int]],
    spans: Sequence[Spans],
    timing: Sequence[Scores] | None,
    spec: ModelSpec,
) -> list[Spans]:
    """When phonemes begin and end, by the net that finds times, where there is one.

    Args:
        outputs: Of each utterance.
        spans: Frames of posteriors in which each phoneme is emitted, shape (phonemes, 2) each.
        timing: Scores of that net, shape (feature frames, outputs) each.
        spec: Of the model.

    Returns:
        Feature frames (or of posteriors, without such a net) of each phoneme, with gaps shared.
    """
    if timing is None:
        return [share_gaps(own) for own in spans]
    reach = round(REACH_SECONDS / spec.feature_seconds)
    windows = [own * spec.stack + np.array([-reach, reach]) for own in spans]
    shortest = max(1, round(SHORTEST_SECONDS / spec.feature_seconds))
    lengths = [len(own) for own in timing]
    aligned = force_align(side_by_side(timing), lengths, outputs, shortest, windows)
    return [share_gaps(own) for own in aligned]


def _join(
    parts: list[tuple[_Piece, TimedHypothesis]], heard: ModelOutput, spec: ModelSpec
) -> TimedHypothesis:
    """One reading of the pieces of a recording."""
    outputs: list[int] = []
    spans, times = [np.empty((0, 2), np.int64)], [np.empty((0, 2), np.int64)]
    finer = 1 if heard.timing is None else spec.stack
    for piece, reading in parts:
        outputs += reading.outputs
        spans.append(reading.spans + piece.first)
        times.append(reading.times + piece.first * finer)
    alternatives = parts[0][1].alternatives if len(parts) == 1 else _best_of_all(parts)
    return TimedHypothesis(outputs, np.concatenate(spans), np.concatenate(times), alternatives)


def _best_of_all(parts: list[tuple[_Piece, TimedHypothesis]]) -> tuple[Alternative, ...]:
    """Best readings of a recording from those of its pieces: one piece differs at a time."""
    lists = [reading.alternatives for _, reading in parts]
    if not lists or not all(lists):
        return ()
    score = sum(own[0].score for own in lists)
    best = tuple(p for own in lists for p in own[0].phonemes)
    others = []
    for number, own in enumerate(lists):
        for other in own[1:]:
            mixed = [lists[k][0] if k != number else other for k in range(len(lists))]
            said = tuple(p for one in mixed for p in one.phonemes)
            others.append(Alternative(said, score - own[0].score + other.score))
    others.sort(key=lambda other: -other.score)
    return (Alternative(best, score), *others[: len(lists[0]) - 1])


def build_transcript(
    recording: Recording, heard: ModelOutput, reading: TimedHypothesis, spec: ModelSpec
) -> Transcript:
    """A transcript from a reading.

    Args:
        recording: What was listened to.
        heard: What the model said of it, batch size 1.
        reading: What was read off that.
        spec: Of the model.
    """
    frame = spec.feature_seconds * (1 if heard.timing is not None else spec.stack)
    said = heard.log_posteriors[0]
    sure = confidences(said, reading.outputs, reading.spans, spec.decoding.temperature)
    silences = recording.silences()
    step = spec.feature_seconds * spec.stack
    edges = _within_reach(reading.times * frame, reading.spans * step)
    edges = np.minimum(edges, recording.duration)
    edges = _out_of_silence(edges, silences, frame)
    weights = heard.weights[0]
    segments = []
    for output, confidence, (start, end) in zip(
        spec.phonemes.decode(reading.outputs), sure.tolist(), edges.tolist(), strict=True
    ):
        first = min(int(start / step), len(weights) - 1)
        own = weights[first : max(first + 1, round(end / step))].mean(axis=0)
        # A model that asks nobody has one way through and no experts to tell of.
        several = len(spec.experts) > 1
        experts = dict(zip(spec.experts, own.tolist(), strict=True)) if several else {}
        segments.append(Segment(output, start, end, confidence, experts))
    mean = weights.mean(axis=0) if len(weights) else np.full(len(spec.experts), np.nan)
    return Transcript(
        path=recording.path,
        duration=recording.duration,
        segments=tuple(segments),
        silences=tuple(_without(silences, edges.tolist())),
        routing=dict(zip(spec.experts, mean.tolist(), strict=True)),
        run=spec.source,
        recipe=spec.recipe,
        alternatives=reading.alternatives,
    )


def _within_reach(times: Seconds, emitted: Seconds) -> Seconds:
    """Times no further from where phonemes are emitted than may be, shape (phonemes, 2).

    Noise that is not silent would make a phoneme last as long as it goes on.
    """
    starts = np.maximum(times[:, 0], np.minimum(emitted[:, 0], times[:, 1]) - REACH_SECONDS)
    ends = np.minimum(times[:, 1], np.maximum(emitted[:, 1], starts) + REACH_SECONDS)
    return np.stack([starts, ends], axis=1)


def _out_of_silence(
    edges: Seconds, silences: Sequence[tuple[float, float]], least: float
) -> Seconds:
    """Takes silences off the ends of phonemes, each of which keeps at least a frame."""
    found = edges.copy()
    for start, end in silences:
        first = int(np.searchsorted(found[:, 1], start, side="right"))
        for number in range(first, len(found)):
            begins, ends = found[number]
            if begins >= end:
                break
            before, after = start - begins, ends - end
            if after >= before and after >= least:
                found[number, 0] = max(begins, end)
            elif before >= least:
                found[number, 1] = min(ends, start)
    return found


def _without(
    silences: Sequence[tuple[float, float]], edges: Sequence[Sequence[float]]
) -> Iterator[tuple[float, float]]:
    """What phonemes leave of the silences."""
    for start, end in silences:
        inside = [(b, e) for b, e in edges if b < end and e > start]
        free = [start, *(time for span in inside for time in span), end]
        for begin, stop in zip(free[::2], free[1::2], strict=True):
            if stop - begin > 1e-6:
                yield (begin, stop)


def renamed(transcript: Transcript, names: dict[str, str], **changes: Any) -> Transcript:
    """The same in other symbols."""
    return replace(
        transcript,
        segments=tuple(replace(s, phoneme=names[s.phoneme]) for s in transcript.segments),
        alternatives=tuple(
            replace(a, phonemes=tuple(names[p] for p in a.phonemes))
            for a in transcript.alternatives
        ),
        **changes,
    )
