"""Against every path there is, on tiny utterances, and against torch's CTC."""

from __future__ import annotations

from itertools import groupby, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from phoneme_moe.decoding.beam_search import Hypothesis, beam_search
from phoneme_moe.decoding.decoder import greedy_decode
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.phonemes import BLANK

Posteriors = NDArray[np.float32]
SYMBOLS = "abcdefg"
ALL = 400
"""More prefixes than 6 frames of 3 outputs, or 5 of 4, can make."""

NGRAM = PhonemeNgram.estimate(["abba", "ab", "aa", "bab", ""], SYMBOLS[:2], order=3)


def random_posteriors(seed: int, *shape: int, sharpness: float = 1.0) -> Posteriors:
    """Log posteriors, shape (..., outputs)."""
    logits = sharpness * np.random.default_rng(seed).normal(size=shape)
    return (logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)).astype(np.float32)


def search_one(posteriors: Posteriors, beam: int, *rest: Any) -> list[Hypothesis]:
    (hypotheses,) = beam_search(posteriors[None], np.array([len(posteriors)]), beam, *rest)
    return hypotheses


def score_all(posteriors: Posteriors) -> dict[tuple[int, ...], float]:
    """Log probability of every hypothesis: the sum over its paths."""
    total: dict[tuple[int, ...], float] = {}
    for path in product(range(posteriors.shape[1]), repeat=len(posteriors)):
        outputs = tuple(output for output, _ in groupby(path) if output != BLANK)
        log_probability = float(posteriors[np.arange(len(path)), list(path)].sum(dtype=float))
        total[outputs] = np.logaddexp(total.get(outputs, -np.inf), log_probability)
    return total


def language_of(outputs: tuple[int, ...]) -> float:
    return NGRAM.log_probability([SYMBOLS[output - 1] for output in outputs])


@given(seed=st.integers(0, 10_000), shape=st.sampled_from([(6, 3), (4, 4), (5, 2), (1, 4)]))
def test_a_beam_for_all_prefixes_finds_all_hypotheses(seed: int, shape: tuple[int, int]) -> None:
    posteriors = random_posteriors(seed, *shape, sharpness=2)
    hypotheses = search_one(posteriors, ALL, None, 0.0, 0.0, ALL)
    expected = score_all(posteriors)
    assert {hypothesis.outputs for hypothesis in hypotheses} == set(expected)
    for hypothesis in hypotheses:
        assert hypothesis.acoustic == pytest.approx(expected[hypothesis.outputs], abs=1e-5)
        assert hypothesis.score == hypothesis.acoustic
        assert hypothesis.language == 0


@given(
    seed=st.integers(0, 10_000),
    num_frames=st.integers(0, 6),
    weight=st.floats(0, 2),
    bonus=st.floats(-2, 2),
)
def test_with_an_ngram_too(seed: int, num_frames: int, weight: float, bonus: float) -> None:
    posteriors = random_posteriors(seed, num_frames, 3, sharpness=2)
    hypotheses = search_one(posteriors, ALL, NGRAM, weight, bonus, ALL)
    expected = score_all(posteriors)
    assert {hypothesis.outputs for hypothesis in hypotheses} == set(expected)
    for hypothesis in hypotheses:
        language = language_of(hypothesis.outputs)
        score = expected[hypothesis.outputs] + weight * language + bonus * len(hypothesis.outputs)
        assert hypothesis.acoustic == pytest.approx(expected[hypothesis.outputs], abs=1e-5)
        assert hypothesis.score == pytest.approx(score, abs=1e-4)
        if weight:
            assert hypothesis.language == pytest.approx(language, abs=1e-5)
    scores = [hypothesis.score for hypothesis in hypotheses]
    assert scores == sorted(scores, reverse=True)


@given(seed=st.integers(0, 10_000))
def test_impossible_outputs_are_in_no_hypothesis(seed: int) -> None:
    posteriors = random_posteriors(seed, 5, 3)
    possible = np.random.default_rng(seed).random(posteriors.shape) < 0.6
    posteriors = np.where(possible, posteriors, np.float32(-np.inf))
    expected = {o: p for o, p in score_all(posteriors).items() if p > -np.inf}
    hypotheses = search_one(posteriors, 200, None, 0.0, 0.0, 200)
    assert {
        hypothesis.outputs: pytest.approx(hypothesis.acoustic, abs=1e-5)
        for hypothesis in hypotheses
    } == expected


@given(seed=st.integers(0, 10_000), sharpness=st.floats(0.5, 4))
def test_acoustic_scores_are_those_of_ctc(seed: int, sharpness: float) -> None:
    posteriors = random_posteriors(seed, 5, 4, sharpness=sharpness)
    for hypothesis in search_one(posteriors, ALL, None, 0.0, 0.0, 5):
        loss = functional.ctc_loss(
            torch.from_numpy(posteriors).double(),
            torch.tensor(hypothesis.outputs, dtype=torch.long),
            torch.tensor(5),
            torch.tensor(len(hypothesis.outputs)),
            reduction="none",
        )
        assert hypothesis.acoustic == pytest.approx(-float(loss), abs=1e-5)


@given(
    seed=st.integers(0, 10_000),
    beam=st.integers(1, 12),
    outputs=st.integers(2, 8),
    num_frames=st.integers(0, 20),
)
def test_hypotheses_are_sorted_and_distinct_and_never_too_probable(
    seed: int, beam: int, outputs: int, num_frames: int
) -> None:
    posteriors = random_posteriors(seed, num_frames, outputs)
    hypotheses = search_one(posteriors, beam, None, 0.0, 0.5, beam)
    scores = [hypothesis.score for hypothesis in hypotheses]
    assert 1 <= len(hypotheses) <= beam
    assert scores == sorted(scores, reverse=True)
    assert len({hypothesis.outputs for hypothesis in hypotheses}) == len(hypotheses)
    assert np.logaddexp.reduce([hypothesis.acoustic for hypothesis in hypotheses]) < 1e-5
    assert [
        hypothesis.outputs for hypothesis in search_one(posteriors, beam, None, 0.0, 0.5, 1)
    ] == [hypotheses[0].outputs]


@given(
    path=st.lists(st.integers(0, 7), max_size=40),
    beam=st.integers(1, 8),
    seed=st.integers(0, 10_000),
)
def test_where_a_model_is_sure_it_reads_the_best_path(
    path: list[int], beam: int, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(size=(len(path), 8))
    logits[np.arange(len(path)), path] += 15
    posteriors = (logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)).astype(np.float32)
    outputs = greedy_decode(posteriors)[0] if path else []
    assert list(search_one(posteriors, beam)[0].outputs) == outputs


@given(
    lengths=st.lists(st.integers(0, 15), min_size=1, max_size=6),
    seed=st.integers(0, 10_000),
    beam=st.integers(1, 10),
)
def test_neither_batch_nor_padding_changes_a_hypothesis(
    lengths: list[int], seed: int, beam: int
) -> None:
    posteriors = random_posteriors(seed, len(lengths), 18, 3)
    for row, length in enumerate(lengths):
        posteriors[row, length:] = np.nan
    together = beam_search(posteriors, np.array(lengths), beam, NGRAM, 0.7, 0.2, 3)
    for row, length in enumerate(lengths):
        alone = search_one(posteriors[row, :length], beam, NGRAM, 0.7, 0.2, 3)
        assert [hypothesis.outputs for hypothesis in together[row]] == [
            hypothesis.outputs for hypothesis in alone
        ]
        assert [hypothesis.score for hypothesis in together[row]] == pytest.approx(
            [hypothesis.score for hypothesis in alone]
        )


def test_an_utterance_without_frames_is_empty() -> None:
    (hypothesis,) = search_one(np.empty((0, 3), np.float32), 4, NGRAM, 0.5, 1.0, 4)
    assert hypothesis == Hypothesis(
        (), pytest.approx(0.5 * language_of(())), 0.0, hypothesis.language
    )
    assert hypothesis.language == pytest.approx(language_of(()))
    assert beam_search(np.empty((0, 0, 3), np.float32), np.empty(0, np.int64), 4) == []


def test_a_hypothesis_of_many_paths_beats_the_best_path() -> None:
    # Graves 2012, figure 7.5: the best path is all blanks, the best hypothesis is not.
    posteriors = np.log([[0.6, 0.4], [0.6, 0.4]]).astype(np.float32)
    assert greedy_decode(posteriors)[0] == []
    best, empty = search_one(posteriors, 4, None, 0.0, 0.0, 4)
    assert best.outputs == (1,)
    assert np.exp(best.acoustic) == pytest.approx(0.64)
    assert np.exp(empty.acoustic) == pytest.approx(0.36)


def test_a_phoneme_is_repeated_only_with_a_blank_between() -> None:
    sure = np.log(np.array([[0.01, 0.99], [0.01, 0.99], [0.01, 0.99]], np.float32))
    assert search_one(sure, 4)[0].outputs == (1,)
    parted = np.stack([sure[0], sure[0, ::-1], sure[0]])
    assert search_one(parted, 4)[0].outputs == (1, 1)


def test_the_ngram_decides_where_the_sound_does_not() -> None:
    ngram = PhonemeNgram.estimate(["ab"] * 5, SYMBOLS[:2], order=2)
    even = np.log([[0.02, 0.94, 0.04], [0.96, 0.02, 0.02], [0.1, 0.45, 0.45]]).astype(np.float32)
    assert search_one(even, 8, ngram, 1.0)[0].outputs == (1, 2)
    backwards = PhonemeNgram.estimate(["aa"] * 5, SYMBOLS[:2], order=2)
    assert search_one(even, 8, backwards, 1.0)[0].outputs == (1, 1)


def test_a_bonus_makes_hypotheses_longer() -> None:
    posteriors = random_posteriors(0, 12, 5)
    lengths = [
        len(search_one(posteriors, 16, None, 0.0, bonus)[0].outputs) for bonus in (-5.0, 0.0, 5.0)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_ties_always_have_the_same_order() -> None:
    even = np.full((2, 5), np.log(0.2), np.float32)
    assert [hypothesis.outputs for hypothesis in search_one(even, 3, None, 0.0, 0.0, 3)] == [
        (1,),
        (2,),
        (),
    ]
