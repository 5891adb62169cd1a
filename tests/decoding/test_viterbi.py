from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.decoding.viterbi import force_align, min_num_frames, share_gaps


def collapse(path: tuple[int, ...]) -> list[int]:
    kept = [
        output for number, output in enumerate(path) if number == 0 or output != path[number - 1]
    ]
    return [output for output in kept if output]


def score_of(spans: np.ndarray, target: list[int], scores: np.ndarray) -> float:
    """Of the path that emits each phoneme in its span and blanks elsewhere."""
    path = np.zeros(len(scores), int)
    for output, (first, last) in zip(target, spans.tolist(), strict=True):
        path[first:last] = output
    return float(scores[np.arange(len(scores)), path].sum())


@given(data=st.data())
def test_no_alignment_is_likelier(data: st.DataObject) -> None:
    frames = data.draw(st.integers(1, 6))
    target = data.draw(st.lists(st.integers(1, 2), min_size=1, max_size=3))
    seed = data.draw(st.integers(0, 999))
    scores = np.random.default_rng(seed).standard_normal((frames, 3)).astype(np.float32)
    (spans,) = force_align(scores[None], [frames], [target])
    paths = [p for p in product(range(3), repeat=frames) if collapse(p) == target]
    if not paths:  # too few frames: spread evenly
        assert spans[-1, 1] == frames
        return
    best = max(sum(float(scores[t, p[t]]) for t in range(frames)) for p in paths)
    assert score_of(spans, target, scores) == pytest.approx(best, abs=1e-4)


@given(data=st.data())
def test_a_batch_is_aligned_as_torchaudio_aligns_each(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 9999)))
    batch, frames = 4, 30
    scores = random.standard_normal((batch, frames, 5)).astype(np.float32)
    lengths = random.integers(8, frames + 1, batch).tolist()
    targets = [random.integers(1, 5, random.integers(0, 9)).tolist() for _ in range(batch)]
    found = force_align(scores, lengths, targets)
    for row, (length, target) in enumerate(zip(lengths, targets, strict=True)):
        if min_num_frames(target) > length:
            continue
        path = np.zeros(length, int)
        for output, (first, last) in zip(target, found[row].tolist(), strict=True):
            path[first:last] = output
        if target:
            expected, _ = torchaudio.functional.forced_align(
                torch.from_numpy(scores[row : row + 1, :length]), torch.tensor([target]), blank=0
            )
            assert path.tolist() == expected[0].tolist()
        else:
            assert not path.any()


@given(seed=st.integers(0, 9999), count=st.integers(1, 8))
def test_a_shared_gap_goes_to_the_nearer_phoneme(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    edges = np.cumsum(random.integers(1, 6, 2 * count))
    spans = edges.reshape(-1, 2)
    shared = share_gaps(spans)
    assert (shared[0, 0], shared[-1, 1]) == (spans[0, 0], spans[-1, 1])
    for number in range(count - 1):
        end, start = spans[number, 1], spans[number + 1, 0]
        for frame in range(end, start):
            # The middle frame of an odd gap is as near to both: it is the first one's.
            first = frame - (end - 1) <= start - frame
            assert shared[number, 1] > frame if first else shared[number + 1, 0] <= frame
    assert (shared[:-1, 1] == shared[1:, 0]).all()


@given(seed=st.integers(0, 999), shortest=st.integers(2, 4))
def test_phonemes_last_as_long_as_they_must(seed: int, shortest: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.standard_normal((1, 40, 4)).astype(np.float32)
    target = random.integers(1, 4, 6).tolist()
    (spans,) = force_align(scores, [40], [target], shortest)
    assert (spans[:, 1] - spans[:, 0] >= shortest).all()
    assert (spans[1:, 0] >= spans[:-1, 1]).all()
    for number in range(1, len(target)):
        if target[number] == target[number - 1]:
            assert spans[number, 0] > spans[number - 1, 1]  # a blank between
    # Of all alignments, so of these too: none that is found without the rule is less likely.
    (free,) = force_align(scores, [40], [target])
    assert score_of(free, target, scores[0]) >= score_of(spans, target, scores[0]) - 1e-4


def test_where_there_is_no_room_phonemes_may_be_shorter() -> None:
    scores = np.zeros((1, 4, 4), np.float32)
    (spans,) = force_align(scores, [4], [[1, 2, 3]], 3)
    assert (spans[:, 1] > spans[:, 0]).all()
    (spread,) = force_align(scores, [2], [[1, 2, 3]], 3)
    assert spread[-1, 1] == 2


@given(seed=st.integers(0, 999))
def test_phonemes_stay_within_their_windows(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.standard_normal((1, 40, 4)).astype(np.float32)
    target = [1, 2, 3, 1]
    centres = np.array([4, 14, 24, 34])
    windows = np.stack([centres - 4, centres + 4], axis=1)
    (spans,) = force_align(scores, [40], [target], 2, [windows])
    assert (spans[:, 0] >= windows[:, 0]).all()
    assert (spans[:, 1] <= windows[:, 1]).all()


def test_nothing_to_align_is_nothing() -> None:
    assert force_align(np.zeros((0, 0, 3), np.float32), [], []) == []
    (empty,) = force_align(np.zeros((1, 5, 3), np.float32), [5], [[]])
    assert empty.shape == (0, 2)
    (none,) = force_align(np.zeros((1, 0, 3), np.float32), [0], [[1]])
    assert none.tolist() == [[0, 0]]


def test_just_enough_frames() -> None:
    (spans,) = force_align(np.zeros((1, 3, 3), np.float32), [3], [[1, 2, 1]])
    assert spans.tolist() == [[0, 1], [1, 2], [2, 3]]
    # A blank separates two of the same phoneme; being odd, it goes to the first.
    (spans,) = force_align(np.zeros((1, 3, 3), np.float32), [3], [[1, 1]])
    assert share_gaps(spans).tolist() == [[0, 2], [2, 3]]
    assert [min_num_frames(target) for target in ([1, 2, 1], [1, 1], [])] == [3, 3, 0]
