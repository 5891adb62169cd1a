"""Decoding of model outputs of any length: cut at blanks, decoded in batches, joined.

Legend: T frames of posteriors, U feature frames, P outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from phoneme_moe.decoding.decoder import greedy_decode
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.viterbi import Spans, force_align
from phoneme_moe.transcription.model_spec import (
    Floats,
    ModelOutput,
    ModelSpec,
    Scores,
    pad_rows,
)
from phoneme_moe.transcription.segment_times import TimedHypothesis, find_times
from phoneme_moe.transcription.transcript import Alternative

PIECE_SECONDS = 20.0
"""Length of the longest piece that is decoded at once."""

BATCH_PIECES = 64
"""Number of pieces in a batch."""


@dataclass(frozen=True)
class _Piece:
    """Frames of posteriors of one recording, from ``first`` to ``last`` (exclusive)."""

    recording: int
    first: int
    last: int


def decode(
    model_outputs: Sequence[ModelOutput],
    spec: ModelSpec,
    beam: int | None = None,
    nbest: int = 1,
    piece_seconds: float = PIECE_SECONDS,
) -> list[TimedHypothesis]:
    """Decodes phonemes and aligns them in time.

    Args:
        model_outputs: Output for each recording, batch size 1.
        spec: Specification of the model.
        beam: Beam width of a search with the run's n-gram, 0 for greedy decoding; by default the
            run's own setting.
        nbest: Length of the n-best list of a beam search.
        piece_seconds: Length of the longest piece that is decoded at once; a cut is made at the
        most
            probable blank in the second half of a piece.

    Returns:
        The best hypothesis of each recording.
    """
    beam = spec.decoding.beam_for(beam)
    longest = round(piece_seconds / (spec.feature_seconds * spec.stack))
    pieces = [
        piece
        for index, model_output in enumerate(model_outputs)
        for piece in _cut(index, model_output, longest)
    ]
    pieces.sort(key=lambda piece: piece.last - piece.first)
    hypotheses: dict[_Piece, TimedHypothesis] = {}
    for first in range(0, len(pieces), BATCH_PIECES):
        batch = pieces[first : first + BATCH_PIECES]
        decoded = _decode_pieces(batch, model_outputs, spec, beam, nbest)
        hypotheses.update(zip(batch, decoded, strict=True))
    parts: list[list[_Piece]] = [[] for _ in model_outputs]
    for piece in sorted(pieces, key=lambda piece: piece.first):
        parts[piece.recording].append(piece)
    return [
        _join([(piece, hypotheses[piece]) for piece in of_recording], model_output, spec)
        for of_recording, model_output in zip(parts, model_outputs, strict=True)
    ]


def _cut(index: int, model_output: ModelOutput, longest: int) -> Iterator[_Piece]:
    blank = model_output.log_posteriors[0, :, BLANK]
    first = 0
    while len(blank) - first > longest:
        half = first + longest // 2
        last = half + int(np.argmax(blank[half : first + longest])) + 1
        yield _Piece(index, first, last)
        first = last
    if len(blank) > first:
        yield _Piece(index, first, len(blank))


def _decode_pieces(
    pieces: Sequence[_Piece],
    model_outputs: Sequence[ModelOutput],
    spec: ModelSpec,
    beam: int | None,
    nbest: int,
) -> list[TimedHypothesis]:
    log_posteriors = [
        model_outputs[p.recording].log_posteriors[0, p.first : p.last] for p in pieces
    ]
    alternatives: list[tuple[Alternative, ...]] = [()] * len(pieces)
    outputs: list[list[int]]
    spans: list[Spans]
    if beam is None:
        decoded = [greedy_decode(posteriors) for posteriors in log_posteriors]
        outputs, spans = [o for o, _ in decoded], [s for _, s in decoded]
    else:
        padded = pad_rows(log_posteriors)
        lengths = [len(posteriors) for posteriors in log_posteriors]
        shifted = []
        for number in range(spec.decoding.shifts_for(beam) - 1):
            rows = [_shifted_piece(p, model_outputs[p.recording], number) for p in pieces]
            shifted.append((pad_rows(rows), np.array([len(row) for row in rows])))
        nbest_lists = spec.decoding.search(padded, np.array(lengths), beam, nbest, shifted)
        outputs = [list(hypotheses[0].outputs) for hypotheses in nbest_lists]
        spans = force_align(padded, lengths, outputs)
        if nbest > 1:
            alternatives = [
                tuple(
                    Alternative(tuple(spec.phonemes.decode(h.outputs)), float(h.score))
                    for h in hypotheses
                )
                for hypotheses in nbest_lists
            ]
    times = find_times(outputs, spans, _timing_of(pieces, model_outputs, spec.stack), spec)
    return [
        TimedHypothesis(*parts) for parts in zip(outputs, spans, times, alternatives, strict=True)
    ]


def _shifted_piece(piece: _Piece, model_output: ModelOutput, number: int) -> Floats:
    """A piece of the shifted posteriors, which may be a frame longer at the end."""
    posteriors = model_output.shifted[number][0]
    is_last = piece.last == model_output.log_posteriors.shape[1]
    shifted: Floats = posteriors[piece.first : None if is_last else piece.last]
    return shifted


def _timing_of(
    pieces: Sequence[_Piece], model_outputs: Sequence[ModelOutput], stack: int
) -> list[Scores] | None:
    """Scores of the timing net in each piece, shape (feature frames, outputs) each."""
    scores = []
    for piece in pieces:
        timing = model_outputs[piece.recording].timing
        if timing is None:
            return None
        scores.append(timing[0, piece.first * stack : piece.last * stack])
    return scores


def _join(
    parts: list[tuple[_Piece, TimedHypothesis]], model_output: ModelOutput, spec: ModelSpec
) -> TimedHypothesis:
    """Joins the hypotheses of the pieces of a recording, in order."""
    outputs: list[int] = []
    spans, times = [np.empty((0, 2), np.int64)], [np.empty((0, 2), np.int64)]
    finer = 1 if model_output.timing is None else spec.stack
    for piece, hypothesis in parts:
        outputs += hypothesis.outputs
        spans.append(hypothesis.spans + piece.first)
        times.append(hypothesis.times + piece.first * finer)
    nbest_lists = [hypothesis.alternatives for _, hypothesis in parts]
    alternatives = nbest_lists[0] if len(parts) == 1 else _join_nbest(nbest_lists)
    return TimedHypothesis(outputs, np.concatenate(spans), np.concatenate(times), alternatives)


def _join_nbest(lists: Sequence[tuple[Alternative, ...]]) -> tuple[Alternative, ...]:
    """The n-best list of a recording: the best of every piece, varying one piece at a time."""
    if not lists or not all(lists):
        return ()
    best = [nbest[0] for nbest in lists]
    score = sum(alternative.score for alternative in best)
    others = []
    for number, nbest in enumerate(lists):
        for other in nbest[1:]:
            mixed = [*best[:number], other, *best[number + 1 :]]
            others.append(_concatenate(mixed, score - nbest[0].score + other.score))
    others.sort(key=lambda other: -other.score)
    return (_concatenate(best, score), *others[: len(lists[0]) - 1])


def _concatenate(parts: Sequence[Alternative], score: float) -> Alternative:
    return Alternative(tuple(phoneme for part in parts for phoneme in part.phonemes), score)
