"""Forced alignment with NumPy: the frames in which each phoneme of a known sequence is emitted.

Legend: B utterances, T frames, P outputs with the blank first, N phonemes, S states (2 N + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.phonemes import BLANK

Spans = NDArray[np.int64]
"""First frame of each phoneme and the one after its last, shape (phonemes, 2)."""

_NEVER = np.float32(-1e30)


def min_num_frames(targets: Sequence[int]) -> int:
    """Fewest frames of a CTC alignment: one a phoneme, and a blank between two that are equal.

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
    """The likeliest alignment of each utterance by the rules of CTC (Viterbi).

    Between phonemes there may be blanks; between two that are the same there must be one. Where
    there are too few frames for the shortest durations each phoneme may last one frame, and what
    has too few for that is spread evenly.

    Args:
        scores: Of each frame, shape (batch, frames, outputs); logarithms, normalised or not.
        num_frames: Real frames of each, length batch.
        targets: Output indices of each one's phonemes.
        shortest: Frames that a phoneme lasts at least.
        windows: First frame of each phoneme at the earliest and the one after its last at the
            latest, shape (phonemes, 2) each; there must be an alignment within them.

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
    batch, each = len(targets), shortest + 1  # a blank and the states of a phoneme after it
    states = each * most + 1
    symbols = np.full((batch, states), BLANK)
    for row, own in enumerate(targets):
        symbols[row, : each * len(own)] = np.repeat(own, each)
        symbols[row, ::each] = BLANK
    emitted = np.take_along_axis(scores[:, :longest], symbols[:, None, :], axis=2)  # (B, T, S)
    if windows is not None:
        _forbid(emitted, windows, each)
    # The first state of a phoneme may follow the last of another directly where they differ.
    skips = np.full((batch, states), _NEVER)
    firsts = symbols[:, each + 1 :: each]
    skips[:, each + 1 :: each][firsts != symbols[:, each - 1 : -2 : each][:, : firsts.shape[1]]] = 0
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
    found: list[Spans] = []
    for row, (n, own) in enumerate(zip(lengths.tolist(), targets, strict=True)):
        last = each * len(own)
        if own and final[row, last - 1 : last + 1].max() > _NEVER / 2:
            found.append(_trace(came[:n, row], final[row], len(own), each))
        elif shortest > 1 or windows is not None:
            found += force_align(scores[row : row + 1], [n], [own])
        else:
            found.append(_spread(len(own), n))
    return found


def _forbid(emitted: NDArray[np.float32], windows: Sequence[Spans], each: int) -> None:
    """Takes phonemes out of frames beyond their windows, in place."""
    frames = np.arange(emitted.shape[1])[:, None]
    for row, own in enumerate(windows):
        outside = (frames < own[:, 0]) | (frames >= own[:, 1])  # (T, N)
        for state in range(1, each):
            emitted[row, :, state : each * len(own) : each][outside] = _NEVER


def _trace(came: NDArray[np.int8], final: NDArray[np.float32], count: int, each: int) -> Spans:
    """Follows the best path back: where it was in each phoneme."""
    last = each * count
    state = last - int(final[last - 1] >= final[last])
    visited = np.empty(len(came), np.int64)
    for t in range(len(came) - 1, -1, -1):
        visited[t] = state
        state -= int(came[t, state])
    phonemes = each * np.arange(count)
    starts = np.searchsorted(visited, phonemes + 1, side="left")
    ends = np.searchsorted(visited, phonemes + each - 1, side="right")
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
