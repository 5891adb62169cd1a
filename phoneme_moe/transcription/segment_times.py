"""Start and end of each phoneme in seconds, and the transcript built from them.

Legend: T frames of posteriors, U feature frames, P outputs, E experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.decoder import Segment, confidences
from phoneme_moe.decoding.viterbi import Spans, force_align, share_gaps
from phoneme_moe.transcription.model_spec import ModelOutput, ModelSpec, Scores, pad_rows
from phoneme_moe.transcription.recording import Recording
from phoneme_moe.transcription.transcript import Alternative, Transcript

MAX_DISTANCE_SECONDS = 0.25
"""A phoneme begins and ends at most this far from the frames in which CTC emits it."""

MIN_PHONEME_SECONDS = 0.03
"""Shortest phoneme in the timing net's alignment, if there are enough frames."""

Seconds = NDArray[np.floating[Any]]
"""Start and end of each phoneme, shape (phonemes, 2)."""


@dataclass(frozen=True)
class TimedHypothesis:
    """A hypothesis with the frames of its phonemes.

    Attributes:
        outputs: Output indices.
        spans: Frames of posteriors in which each is emitted, shape (phonemes, 2).
        times: First frame of each and the frame after its last, shape (phonemes, 2): feature frames
            with a timing net, frames of posteriors without one.
        alternatives: The n-best list, best first, if one was requested.
    """

    outputs: list[int]
    spans: Spans
    times: Spans
    alternatives: tuple[Alternative, ...] = ()


def find_times(
    outputs: Sequence[Sequence[int]],
    spans: Sequence[Spans],
    timing: Sequence[Scores] | None,
    spec: ModelSpec,
) -> list[Spans]:
    """Frames of each phoneme, by forced alignment with the timing net if there is one.

    Args:
        outputs: Output indices of each utterance.
        spans: Frames of posteriors in which each phoneme is emitted, shape (phonemes, 2) each.
        timing: Scores of the timing net, shape (feature frames, outputs) each.
        spec: Specification of the model.

    Returns:
        First and last feature frame (without a timing net: frame of posteriors) of each phoneme,
        shape (phonemes, 2) each; gaps are divided between the neighbouring phonemes.
    """
    if timing is None:
        return [share_gaps(emitted) for emitted in spans]
    margin = round(MAX_DISTANCE_SECONDS / spec.feature_seconds)
    windows = [emitted * spec.stack + np.array([-margin, margin]) for emitted in spans]
    shortest = max(1, round(MIN_PHONEME_SECONDS / spec.feature_seconds))
    lengths = [len(scores) for scores in timing]
    aligned = force_align(pad_rows(timing), lengths, outputs, shortest, windows)
    return [share_gaps(frames) for frames in aligned]


def build_transcript(
    recording: Recording, model_output: ModelOutput, hypothesis: TimedHypothesis, spec: ModelSpec
) -> Transcript:
    """The transcript of a recording.

    Args:
        recording: The recording.
        model_output: Output of the model for it, batch size 1.
        hypothesis: Hypothesis decoded from this output.
        spec: Specification of the model.
    """
    frame = spec.feature_seconds * (1 if model_output.timing is not None else spec.stack)
    step = spec.feature_seconds * spec.stack
    confidence = confidences(
        model_output.log_posteriors[0],
        hypothesis.outputs,
        hypothesis.spans,
        spec.decoding.temperature,
    )
    silences = recording.silences()
    edges = _limit_distance(hypothesis.times * frame, hypothesis.spans * step)
    edges = np.minimum(edges, recording.duration)
    edges = _exclude_silences(edges, silences, frame)
    weights = model_output.weights[0]
    segments = []
    for phoneme, probability, (start, end) in zip(
        spec.phonemes.decode(hypothesis.outputs), confidence.tolist(), edges.tolist(), strict=True
    ):
        experts: dict[str, float] = {}
        if len(spec.experts) > 1:  # a single expert has no routing to report
            first = min(int(start / step), len(weights) - 1)
            mean = weights[first : max(first + 1, round(end / step))].mean(axis=0)
            experts = dict(zip(spec.experts, mean.tolist(), strict=True))
        segments.append(Segment(phoneme, start, end, probability, experts))
    mean = weights.mean(axis=0) if len(weights) else np.full(len(spec.experts), np.nan)
    return Transcript(
        path=recording.path,
        duration=recording.duration,
        segments=tuple(segments),
        silences=tuple(_outside_phonemes(silences, edges.tolist())),
        routing=dict(zip(spec.experts, mean.tolist(), strict=True)),
        run=spec.source,
        recipe=spec.recipe,
        alternatives=hypothesis.alternatives,
    )


def _limit_distance(times: Seconds, emitted: Seconds) -> Seconds:
    """Times at most ``MAX_DISTANCE_SECONDS`` from the frames of emission, shape (phonemes, 2).

    Otherwise a phoneme would extend over any adjacent noise.
    """
    starts = np.maximum(times[:, 0], np.minimum(emitted[:, 0], times[:, 1]) - MAX_DISTANCE_SECONDS)
    ends = np.minimum(times[:, 1], np.maximum(emitted[:, 1], starts) + MAX_DISTANCE_SECONDS)
    return np.stack([starts, ends], axis=1)


def _exclude_silences(
    edges: Seconds, silences: Sequence[tuple[float, float]], least: float
) -> Seconds:
    """Trims silences from the ends of phonemes, each of which keeps ``least`` seconds."""
    trimmed = edges.copy()
    for start, end in silences:
        first = int(np.searchsorted(trimmed[:, 1], start, side="right"))
        for number in range(first, len(trimmed)):
            phoneme_start, phoneme_end = trimmed[number]
            if phoneme_start >= end:
                break
            before, after = start - phoneme_start, phoneme_end - end
            if after >= before and after >= least:
                trimmed[number, 0] = max(phoneme_start, end)
            elif before >= least:
                trimmed[number, 1] = min(phoneme_end, start)
    return trimmed


def _outside_phonemes(
    silences: Sequence[tuple[float, float]], edges: Sequence[Sequence[float]]
) -> Iterator[tuple[float, float]]:
    """The parts of silences that no phoneme covers."""
    for start, end in silences:
        inside = [(b, e) for b, e in edges if b < end and e > start]
        free = [start, *(time for span in inside for time in span), end]
        for begin, stop in zip(free[::2], free[1::2], strict=True):
            if stop - begin > 1e-6:
                yield (begin, stop)
