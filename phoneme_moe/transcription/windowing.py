"""What a model says of recordings of any length.

Long recordings go through in windows with as much beside them as the model looks at, so that a seam
changes nothing; where a part of the model looks at the whole utterance (``ModelSpec.context`` is
None), it looks at a window instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.transcription.model_spec import Engine, Floats, ModelOutput, Scores, side_by_side
from phoneme_moe.transcription.recording import Recording

BATCH_FRAMES = 24_000
"""Feature frames in a batch, padding included: four minutes at 10 ms."""

WINDOW_SECONDS = 30.0
"""Of a long recording, without what is beside it."""

CONTEXT_SECONDS = 5.0
"""Beside a window, for models that look at whole utterances."""

CLOSURE_SECONDS = 0.05
"""Before a silence ends a phoneme may have begun: the closure of a stop is silent."""

SILENT_PENALTY = 8.0
"""Off the score of every phoneme in each silent frame."""


def infer(
    engine: Engine,
    recordings: Sequence[Recording],
    embeddings: Floats | None = None,
    num_shifts: int = 1,
) -> list[ModelOutput]:
    """What a model says of recordings, each by itself.

    Args:
        engine: The model.
        recordings: Together no more than a batch, or a single one of any length.
        embeddings: A vector of each, shape (recordings, size), where the model needs one.
        num_shifts: How often each is heard, each time a feature frame later.
    """
    if len(recordings) == 1 and recordings[0].num_frames > BATCH_FRAMES:
        return [_infer_long(engine, recordings[0], embeddings, num_shifts)]
    lengths = np.array([recording.num_frames for recording in recordings])
    features = side_by_side([recording.features() for recording in recordings])
    heard = engine.infer(features, lengths, embeddings)
    shifted = [
        engine.infer(_shift(features, frames), lengths + frames, embeddings, timed=False)
        for frames in range(1, num_shifts)
    ]
    stack = engine.spec.stack
    if heard.timing is not None:
        for row, (n, recording) in enumerate(zip(lengths.tolist(), recordings, strict=True)):
            _hush(heard.timing[row : row + 1, :n], recording)
    return [
        ModelOutput(
            heard.log_posteriors[row : row + 1, : -(-n // stack)],
            heard.weights[row : row + 1, : -(-n // stack)],
            None if heard.timing is None else heard.timing[row : row + 1, :n],
            tuple(
                own.log_posteriors[row : row + 1, : -(-(n + frames) // stack)]
                for frames, own in enumerate(shifted, start=1)
            ),
        )
        for row, n in enumerate(lengths.tolist())
    ]


def _shift(features: Floats, frames: int) -> Floats:
    """The same sound some frames later (``features.log_mel.delay`` for tensors).

    Args:
        features: Shape (batch, feature frames, mel bands).
        frames: How much later.
    """
    return np.concatenate([np.repeat(features[:, :1], frames, axis=1), features], axis=1)


def _hush(timing: Scores, recording: Recording) -> None:
    """Sees to it, in place, that no phoneme begins early in a silence, or lasts through one.

    Label priors leave blanks no advantage, so that a stop's closure would fill all of a silence.
    """
    seconds = recording.front_end.frame_seconds
    for start, end in recording.silences():
        first, last = round(start / seconds), round((end - CLOSURE_SECONDS) / seconds)
        timing[:, first : max(first, last), BLANK + 1 :] -= SILENT_PENALTY


def _infer_long(
    engine: Engine, recording: Recording, embeddings: Floats | None, num_shifts: int
) -> ModelOutput:
    """The same in windows, with what the model looks at beside them."""
    spec = engine.spec
    step = spec.feature_seconds * spec.stack
    context = spec.context if spec.context is not None else round(CONTEXT_SECONDS / step)
    size = round(WINDOW_SECONDS / step)
    outputs = spec.phonemes.num_outputs
    totals = [-(-(recording.num_frames + delay) // spec.stack) for delay in range(num_shifts)]
    log_posteriors, *shifted = (np.empty((1, own, outputs), np.float32) for own in totals)
    total = totals[0]
    weights = np.empty((1, total, len(spec.experts)), np.float32)
    timing: NDArray[np.float16] | None = None
    for first in range(0, max(totals), size):
        last = first + size
        begin = max(0, first - context)
        own = slice(first - begin, last - begin)
        for delay, posteriors in enumerate(shifted, start=1):
            if first >= posteriors.shape[1]:
                continue
            start, stop = (frame * spec.stack - delay for frame in (begin, last + context))
            features = recording.features(max(0, start), stop)[None]
            if start < 0:
                features = _shift(features, delay)
            shape = np.array([features.shape[1]])
            said = engine.infer(features, shape, embeddings, timed=False)
            posteriors[:, first:last] = said.log_posteriors[:, own]
        if first >= total:  # a frame that only a delay has
            break
        features = recording.features(begin * spec.stack, (last + context) * spec.stack)[None]
        said = engine.infer(features, np.array([features.shape[1]]), embeddings)
        log_posteriors[:, first:last] = said.log_posteriors[:, own]
        weights[:, first:last] = said.weights[:, own]
        if said.timing is not None:
            if timing is None:  # half precision: nobody sees the difference in an alignment
                timing = np.empty((1, total * spec.stack, outputs), np.float16)
            finer = said.timing[:, own.start * spec.stack : own.stop * spec.stack]
            start = first * spec.stack
            timing[:, start : start + finer.shape[1]] = finer
    if timing is not None:
        timing = timing[:, : recording.num_frames]
        _hush(timing, recording)
    return ModelOutput(log_posteriors, weights, timing, tuple(shifted))
