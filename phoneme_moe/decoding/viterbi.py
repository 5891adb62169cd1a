"""Forced alignment in NumPy: the frames of each phoneme of a known sequence.

Legend: B utterances, T frames, P outputs with the blank first, N phonemes, S states (2 N + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.phonemes import BLANK

Spans = NDArray[np.int64]
"""First frame and end (exclusive) of each phoneme, shape (phonemes, 2)."""

_IMPOSSIBLE = np.float32(-1e30)


def min_num_frames(targets: Sequence[int]) -> int:
    """Minimum frames of a CTC alignment: one per phoneme, and a blank between equal neighbours.

    Args:
        targets: Output indices of the phonemes.
    """
    return len(targets) + sum(a == b for a, b in pairwise(targets))


def force_align(
    scores: NDArray[np.float32],
    num_frames: Sequence[int],
    targets: Sequence[Sequence[int]],
    shortest: int = 1,
    windows: Sequence[Spans] | None = None,
) -> list[Spans]:
    """Finds the most probable CTC alignment of each utterance (Viterbi).

    Blanks may separate phonemes and must separate equal ones. If there are too few frames for the
    minimum duration, phonemes may last a single frame; if there are too few even then, the frames
    are divided evenly.

    Args:
        scores: Log posteriors, normalised or not, shape (batch, frames, outputs).
        num_frames: Number of real frames of each utterance, length batch.
        targets: Phonemes of each utterance as output indices.
        shortest: Minimum duration of a phoneme in frames.
        windows: Earliest start and latest end of each phoneme in frames, shape (phonemes, 2) for
            each utterance; an alignment must exist within them.

    Returns:
        Spans of each utterance, shape (phonemes, 2); in order, without overlap.
    """
    if not len(targets):
        return []
    lengths = np.asarray(num_frames)
    counts = np.array([len(phonemes) for phonemes in targets])
    longest, most = int(lengths.max(initial=0)), int(counts.max(initial=0))
    if not longest or not most:
        return [_spread(n, t) for n, t in zip(counts.tolist(), lengths.tolist(), strict=True)]
    batch, each = len(targets), shortest + 1  # a blank and the states of a phoneme after it
    states = each * most + 1
    symbols = np.full((batch, states), BLANK)
    for row, phonemes in enumerate(targets):
        symbols[row, : each * len(phonemes)] = np.repeat(phonemes, each)
        symbols[row, ::each] = BLANK
    emitted = np.take_along_axis(scores[:, :longest], symbols[:, None, :], axis=2)  # (B, T, S)
    if windows is not None:
        _forbid(emitted, windows, each)
    # Different phonemes may follow each other directly, without a blank.
    skips = np.full((batch, states), _IMPOSSIBLE)
    firsts = symbols[:, each + 1 :: each]
    skips[:, each + 1 :: each][firsts != symbols[:, each - 1 : -2 : each][:, : firsts.shape[1]]] = 0
    best = np.full((batch, states + 2), _IMPOSSIBLE)  # preceded by two unreachable states
    best[:, 2], best[:, 3] = emitted[:, 0, 0], emitted[:, 0, 1]
    steps = np.zeros((longest, batch, states), np.int8)
    final = np.empty((batch, states), np.float32)
    final[lengths == 1] = best[lengths == 1, 2:]
    for t in range(1, longest):
        stay, step, skip = best[:, 2:], best[:, 1:-1], best[:, :-2] + skips
        best_step = np.maximum(stay, step)
        steps[t] = np.where(skip > best_step, 2, step > stay)
        best[:, 2:] = np.maximum(best_step, skip) + emitted[:, t]
        ended = lengths == t + 1
        if ended.any():
            final[ended] = best[ended, 2:]
    spans: list[Spans] = []
    for row, (n, phonemes) in enumerate(zip(lengths.tolist(), targets, strict=True)):
        last = each * len(phonemes)
        if phonemes and final[row, last - 1 : last + 1].max() > _IMPOSSIBLE / 2:
            spans.append(_trace(steps[:n, row], final[row], len(phonemes), each))
        elif shortest > 1 or windows is not None:
            spans += force_align(scores[row : row + 1], [n], [phonemes])
        else:
            spans.append(_spread(len(phonemes), n))
    return spans


def _forbid(emitted: NDArray[np.float32], windows: Sequence[Spans], each: int) -> None:
    """Forbids phonemes outside their windows, in place."""
    frames = np.arange(emitted.shape[1])[:, None]
    for row, window in enumerate(windows):
        outside = (frames < window[:, 0]) | (frames >= window[:, 1])  # (T, N)
        for state in range(1, each):
            emitted[row, :, state : each * len(window) : each][outside] = _IMPOSSIBLE


def _trace(steps: NDArray[np.int8], final: NDArray[np.float32], count: int, each: int) -> Spans:
    """Traces the best path back to the frames of each phoneme."""
    last = each * count
    state = last - int(final[last - 1] >= final[last])
    visited = np.empty(len(steps), np.int64)
    for t in range(len(steps) - 1, -1, -1):
        visited[t] = state
        state -= int(steps[t, state])
    phonemes = each * np.arange(count)
    starts = np.searchsorted(visited, phonemes + 1, side="left")
    ends = np.searchsorted(visited, phonemes + each - 1, side="right")
    return np.stack([starts, ends], axis=1)


def _spread(count: int, num_frames: int) -> Spans:
    edges = np.linspace(0, num_frames, count + 1).astype(np.int64)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def share_gaps(spans: Spans) -> Spans:
    """Extends spans over the blanks between them; each frame goes to the nearer phoneme.

    The middle frame of an odd gap goes to the earlier phoneme. Blanks before the first phoneme and
    after the last one are not included.
    """
    shared = spans.copy()
    if len(spans) > 1:
        middle = (spans[:-1, 1] + spans[1:, 0] + 1) // 2
        shared[:-1, 1] = shared[1:, 0] = middle
    return shared
