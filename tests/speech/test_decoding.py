from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.speech.decoding import Segment, decode_greedy
from phoneme_moe.speech.phonemes import BLANK, PhonemeSet

PHONEMES = PhonemeSet(("a", "b"), has_blank=True)


def collapse(path: tuple[int, ...]) -> list[str]:
    """The CTC map, as its definition reads: join runs, then take out blanks."""
    return ["_ab"[output] for output, _ in groupby(path) if output != BLANK]


def posteriors_along(path: tuple[int, ...], probability: float = 0.6) -> np.ndarray:
    rows = np.full((len(path), 3), (1 - probability) / 2)
    rows[np.arange(len(path)), path] = probability
    return np.log(rows).astype(np.float32)


@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_every_short_path_decodes_to_its_collapse(num_frames: int) -> None:
    for path in product(range(3), repeat=num_frames):
        segments = decode_greedy(posteriors_along(path), PHONEMES, 0.02, num_frames * 0.02)
        assert [segment.phoneme for segment in segments] == collapse(path)


def test_the_best_path_is_the_likeliest_of_all_paths() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        log_posteriors = np.log(random.dirichlet(np.ones(3), 5)).astype(np.float32)
        best = max(
            product(range(3), repeat=5),
            key=lambda path: sum(log_posteriors[t, output] for t, output in enumerate(path)),
        )
        segments = decode_greedy(log_posteriors, PHONEMES, 0.02, 0.1)
        assert [segment.phoneme for segment in segments] == collapse(best)


@given(
    path=st.lists(st.integers(0, 2), min_size=1, max_size=30),
    shortfall=st.floats(0, 0.02),
    probability=st.floats(0.4, 1.0),
)
def test_segments_are_in_order_apart_and_within_the_recording(
    path: list[int], shortfall: float, probability: float
) -> None:
    # Stacked frames may reach past the end of the recording; segments may not.
    duration = len(path) * 0.02 - shortfall
    with np.errstate(divide="ignore"):
        log_posteriors = posteriors_along(tuple(path), probability)
    segments = decode_greedy(log_posteriors, PHONEMES, 0.02, duration)
    edges = [time for segment in segments for time in (segment.start, segment.end)]
    assert edges == sorted(edges)
    assert all(0 <= time <= duration for time in edges)
    for segment in segments:
        assert segment.confidence == pytest.approx(probability, abs=1e-6)
        assert 0 <= segment.confidence <= 1


def test_a_segment_covers_the_frames_in_which_its_phoneme_is_likeliest() -> None:
    segments = decode_greedy(posteriors_along((0, 1, 1, 2, 0, 2)), PHONEMES, 0.5, 3.0)
    times = [(s.phoneme, s.start, s.end) for s in segments]
    assert times == [("a", 0.5, 1.5), ("b", 1.5, 2.0), ("b", 2.5, 3.0)]
    assert all(isinstance(value, float) for s in segments for value in (s.start, s.end))


def test_confidence_is_the_mean_posterior_over_the_frames() -> None:
    log_posteriors = np.log([[0.1, 0.5, 0.4], [0.05, 0.9, 0.05]]).astype(np.float32)
    (segment,) = decode_greedy(log_posteriors, PHONEMES, 0.1, 0.2)
    assert segment == Segment("a", 0.0, 0.2, pytest.approx(0.7))


def test_nothing_but_blanks_is_nothing() -> None:
    assert decode_greedy(posteriors_along((0, 0, 0)), PHONEMES, 0.1, 0.3) == []
