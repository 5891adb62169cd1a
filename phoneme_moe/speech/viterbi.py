"""Forced alignment with NumPy: the frames in which each phoneme of a known sequence is emitted.

Legend: B utterances, T frames, P outputs with the blank first, N phonemes, S states (2 N + 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.speech.phonemes import BLANK

Spans = NDArray[np.int64]
"""First frame of each phoneme and the one after its last, shape (phonemes, 2)."""

_NEVER = np.float32(-1e30)


def force_align(
    scores: NDArray[np.float32], num_frames: Sequence[int], targets: Sequence[Sequence[int]]
) -> list[Spans]:
    """The likeliest alignment of each utterance by the rules of CTC (Viterbi).

    Between phonemes there may be blanks; between two that are the same there must be one. What has
    too few frames for its phonemes is spread evenly.

    Args:
        scores: Of each frame, shape (batch, frames, outputs); logarithms, normalised or not.
        num_frames: Real frames of each, length batch.
        targets: Output indices of each one's phonemes.

    Returns:
        Of each utterance, shape (phonemes, 2); in order, without overlap.
    """
    if not len(targets):
        return []
    lengths = np.asarray(num_frames)
    counts = np.array([len(own) for own in targets])
    longest, most = int(lengths.max(initial=0)), int(counts.max(initial=0))
    if not longest or not most:
        return [_spread(n, t) for n, t in zip(counts.tolist(), lengths.tolist(), strict=True)]
    batch, states = len(targets), 2 * most + 1
    symbols = np.full((batch, states), BLANK)
    for row, own in enumerate(targets):
        symbols[row, 1 : 2 * len(own) : 2] = own
    # A phoneme may follow another directly where they differ.
    skips = np.full((batch, states), _NEVER)
    skips[:, 3::2][symbols[:, 3::2] != symbols[:, 1:-2:2]] = 0
    emitted = np.take_along_axis(scores[:, :longest], symbols[:, None, :], axis=2)  # (B, T, S)
    best = np.full((batch, states + 2), _NEVER)  # two states before the first, never reached
    best[:, 2], best[:, 3] = emitted[:, 0, 0], emitted[:, 0, 1]
    came = np.zeros((longest, batch, states), np.int8)
    final = np.empty((batch, states), np.float32)
    final[lengths == 1] = best[lengths == 1, 2:]
    for t in range(1, longest):
        stay, step, skip = best[:, 2:], best[:, 1:-1], best[:, :-2] + skips
        best_step = np.maximum(stay, step)
        came[t] = np.where(skip > best_step, 2, step > stay)
        best[:, 2:] = np.maximum(best_step, skip) + emitted[:, t]
        ended = lengths == t + 1
        if ended.any():
            final[ended] = best[ended, 2:]
    return [
        _trace(came[:n, row], final[row], count)
        if count and n >= _needed(targets[row])
        else _spread(count, n)
        for row, (n, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True))
    ]


def _needed(target: Sequence[int]) -> int:
    own = np.asarray(target)
    return len(own) + int((own[1:] == own[:-1]).sum())


def _trace(came: NDArray[np.int8], final: NDArray[np.float32], count: int) -> Spans:
    """Follows the best path back: where it was in each phoneme."""
    state = 2 * count - int(final[2 * count - 1] >= final[2 * count])
    visited = np.empty(len(came), np.int64)
    for t in range(len(came) - 1, -1, -1):
        visited[t] = state
        state -= int(came[t, state])
    phonemes = 2 * np.arange(count) + 1
    starts = np.searchsorted(visited, phonemes, side="left")
    ends = np.searchsorted(visited, phonemes, side="right")
    return np.stack([starts, ends], axis=1)


def _spread(count: int, num_frames: int) -> Spans:
    edges = np.linspace(0, num_frames, count + 1).astype(np.int64)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def share_gaps(spans: Spans) -> Spans:
    """The same with the blanks between two phonemes halved, the odd frame to the first.

    Blanks before the first phoneme and after the last one are nobody's.
    """
    shared = spans.copy()
    if len(spans) > 1:
        middle = (spans[:-1, 1] + spans[1:, 0] + 1) // 2
        shared[:-1, 1] = shared[1:, 0] = middle
    return shared
