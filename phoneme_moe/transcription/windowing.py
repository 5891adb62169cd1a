"""Inference on recordings of any length.

Long recordings are processed in windows, each with the model's receptive field on either side, so
that the output equals that for the whole recording. If a part of the model sees the whole utterance
(``ModelSpec.context`` is None), windows have ``CONTEXT_SECONDS`` on either side instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.transcription.model_spec import Engine, Floats, ModelOutput, Scores, pad_rows
from phoneme_moe.transcription.recording import Recording

BATCH_FRAMES = 24_000
"""Most feature frames in a batch, including padding: four minutes at 10 ms."""

WINDOW_SECONDS = 30.0
"""Length of a window, excluding its context."""

CONTEXT_SECONDS = 5.0
"""Context on either side of a window, for models that see whole utterances."""

ENCODED_SECONDS = 30.0
"""Longest sound that a pretrained encoder takes at once (Whisper's positions end there)."""

CLOSURE_SECONDS = 0.05
"""How long before the end of a silence a phoneme may begin: stop closures are silent."""

SILENCE_PENALTY = 8.0
"""Subtracted from the timing net's score of every phoneme in silent frames."""


def infer(
    engine: Engine,
    recordings: Sequence[Recording],
    embeddings: Floats | None = None,
    num_shifts: int = 1,
    *,
    batch_frames: int = BATCH_FRAMES,
    window_seconds: float = WINDOW_SECONDS,
) -> list[ModelOutput]:
    """Runs a model on recordings.

    Args:
        engine: Inference engine of the model.
        recordings: Recordings that fit into one batch, or a single one of any length.
        embeddings: Embedding of each recording, shape (recordings, size), if the model takes one.
        num_shifts: Number of passes over the input, each shifted by one more feature frame.
        batch_frames: Feature frames above which a single recording is processed in windows.
        window_seconds: Length of these windows in seconds.

    Returns:
        The output for each recording, batch size 1.
    """
    if engine.spec.encode is not None:
        # With its context, as long as an encoder takes at once.
        window_seconds = min(window_seconds, ENCODED_SECONDS - 2 * CONTEXT_SECONDS)
    if len(recordings) == 1 and recordings[0].num_frames > batch_frames:
        return [_infer_windows(engine, recordings[0], embeddings, num_shifts, window_seconds)]
    lengths = np.array([recording.num_frames for recording in recordings])
    features = pad_rows([recording.features() for recording in recordings])
    batch_output = engine.infer(features, lengths, embeddings)
    shifted = [
        engine.infer(_shift(features, frames), lengths + frames, embeddings, timed=False)
        for frames in range(1, num_shifts)
    ]
    stack, timing = engine.spec.stack, batch_output.timing
    if timing is not None:
        for row, (n, recording) in enumerate(zip(lengths.tolist(), recordings, strict=True)):
            _penalize_silences(timing[row : row + 1, :n], recording)
    return [
        ModelOutput(
            batch_output.log_posteriors[row : row + 1, : -(-n // stack)],
            batch_output.weights[row : row + 1, : -(-n // stack)],
            None if timing is None else timing[row : row + 1, :n],
            tuple(
                shifted_output.log_posteriors[row : row + 1, : -(-(n + frames) // stack)]
                for frames, shifted_output in enumerate(shifted, start=1)
            ),
        )
        for row, n in enumerate(lengths.tolist())
    ]


def _shift(features: Floats, frames: int) -> Floats:
    """Delays the features by some frames (``features.log_mel.shift`` for tensors).

    Args:
        features: Features, shape (batch, feature frames, mel bands).
        frames: Number of frames of delay.
    """
    return np.concatenate([np.repeat(features[:, :1], frames, axis=1), features], axis=1)


def _penalize_silences(timing: Scores, recording: Recording) -> None:
    """Keeps phonemes from beginning early in a silence or lasting through one, in place.

    Label priors remove the blank's advantage, so that without the penalty the closure of a stop
    would fill a whole silence.
    """
    seconds = recording.front_end.frame_seconds
    for start, end in recording.silences():
        first, last = round(start / seconds), round((end - CLOSURE_SECONDS) / seconds)
        timing[:, first : max(first, last), BLANK + 1 :] -= SILENCE_PENALTY


def _infer_windows(
    engine: Engine,
    recording: Recording,
    embeddings: Floats | None,
    num_shifts: int,
    window_seconds: float,
) -> ModelOutput:
    spec = engine.spec
    step = spec.feature_seconds * spec.stack
    # A pretrained encoder sees all of its window.
    sees_all = spec.context is None or spec.encode is not None
    context = round(CONTEXT_SECONDS / step) if sees_all else spec.context
    assert context is not None
    size = round(window_seconds / step)
    outputs = spec.phonemes.num_outputs
    totals = [-(-(recording.num_frames + frames) // spec.stack) for frames in range(num_shifts)]
    log_posteriors, *shifted = (np.empty((1, frames, outputs), np.float32) for frames in totals)
    total = totals[0]
    weights = np.empty((1, total, len(spec.experts)), np.float32)
    timing: NDArray[np.float16] | None = None
    for first in range(0, max(totals), size):
        last = first + size
        begin = max(0, first - context)
        kept = slice(first - begin, last - begin)  # the frames of the window without its context
        for frames, posteriors in enumerate(shifted, start=1):
            if first >= posteriors.shape[1]:
                continue
            start, stop = (frame * spec.stack - frames for frame in (begin, last + context))
            features = recording.features(max(0, start), stop)[None]
            if start < 0:
                features = _shift(features, frames)
            num_frames = np.array([features.shape[1]])
            window = engine.infer(features, num_frames, embeddings, timed=False)
            posteriors[:, first:last] = window.log_posteriors[:, kept]
        if first >= total:  # a frame that only the shifted input has
            break
        features = recording.features(begin * spec.stack, (last + context) * spec.stack)[None]
        window = engine.infer(features, np.array([features.shape[1]]), embeddings)
        log_posteriors[:, first:last] = window.log_posteriors[:, kept]
        weights[:, first:last] = window.weights[:, kept]
        if window.timing is not None:
            if timing is None:  # half precision hardly changes an alignment
                timing = np.empty((1, total * spec.stack, outputs), np.float16)
            finer = window.timing[:, kept.start * spec.stack : kept.stop * spec.stack]
            start = first * spec.stack
            timing[:, start : start + finer.shape[1]] = finer
    if timing is not None:
        timing = timing[:, : recording.num_frames]
        _penalize_silences(timing, recording)
    return ModelOutput(log_posteriors, weights, timing, tuple(shifted))
