from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import normalized_mutual_info_score

from phoneme_moe.report.compare.agreement import agreements, normalized_information
from phoneme_moe.report.compare.matching import PairedRouting, in_slots, match, pair_rows, resample


def drawn(random: np.random.Generator, rows: int, experts: int, top: int | None = None):
    weights = random.dirichlet(np.full(experts, 0.5), rows).astype(np.float32)
    if top is not None:
        weights[weights < np.sort(weights)[:, [-top]]] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def paired(a: np.ndarray, b: np.ndarray, lengths: list[int]) -> PairedRouting:
    return PairedRouting(a, b, np.array(lengths))


@given(
    order=st.integers(2, 9).flatmap(lambda n: st.permutations(range(n))),
    top=st.sampled_from([None, 1, 2]),
    seed=st.integers(0, 99),
)
def test_a_planted_permutation_is_found(order: list[int], top: int | None, seed: int) -> None:
    a = drawn(np.random.default_rng(seed), 120, len(order), top)
    both = paired(a, a[:, order], [50, 0, 70])
    shared = both.shared()
    matching = match(shared.sum(axis=0))
    used = np.flatnonzero(a.sum(axis=0) > 0).tolist()
    assert matching.pairs == tuple((e, order.index(e)) for e in used)
    # Everything is shared: utterance by utterance, and of the first experts too.
    np.testing.assert_allclose(matching.of_pairs(shared), [50, 0, 70], rtol=1e-4)
    assert matching.of_pairs(both.firsts()).tolist() == [50, 0, 70]
    correlations = both.correlations()
    for one, other in matching.pairs:
        assert correlations[one, other] == pytest.approx(1, abs=1e-5)


@given(experts=st.tuples(st.integers(2, 7), st.integers(2, 7)), seed=st.integers(0, 99))
def test_more_experts_than_partners_leaves_some_alone(experts: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    both = paired(*(drawn(random, 60, n) for n in experts), [60])
    matching = match(both.shared().sum(axis=0))
    assert len(matching.pairs) == min(experts)
    firsts, seconds = [i for i, _ in matching.pairs], [j for _, j in matching.pairs]
    assert sorted([*firsts, *matching.unmatched_a]) == list(range(experts[0]))
    assert sorted([*seconds, *matching.unmatched_b]) == list(range(experts[1]))
    slots = matching.slots()
    assert len(slots) == max(experts)
    for side, weights in enumerate((both.a, both.b)):
        inside = in_slots(weights.astype(np.float64), [slot[side] for slot in slots])
        np.testing.assert_allclose(inside.sum(axis=1), 1, rtol=1e-5)


def test_an_expert_that_is_never_used_has_no_partner() -> None:
    a = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    matching = match(paired(a, a, [2]).shared().sum(axis=0))
    assert matching.pairs == ((0, 0), (1, 1))
    assert (matching.unmatched_a, matching.unmatched_b) == ((2,), (2,))


def test_sums_are_those_of_a_loop_over_rows() -> None:
    random = np.random.default_rng(3)
    lengths = [4, 1, 0, 7]
    a, b = drawn(random, 12, 3, 2), drawn(random, 12, 4)
    both = paired(a, b, lengths)
    shared, firsts = np.zeros((4, 3, 4)), np.zeros((4, 3, 4))
    for row, utterance in enumerate(np.repeat(np.arange(4), lengths)):
        for i in range(3):
            for j in range(4):
                shared[utterance, i, j] += min(a[row, i], b[row, j])
        firsts[utterance, a[row].argmax(), b[row].argmax()] += 1
    np.testing.assert_allclose(both.shared(), shared, rtol=1e-5)
    np.testing.assert_array_equal(both.firsts(), firsts)
    assert both.correlations()[1, 2] == pytest.approx(pearsonr(a[:, 1], b[:, 2]).statistic)


def test_a_constant_correlates_with_nothing() -> None:
    a = np.full((50, 3), 1 / 3, np.float32)
    b = drawn(np.random.default_rng(0), 50, 2)
    assert not paired(a, b, [50]).correlations().any()


def test_information_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(5)
    one = random.integers(4, size=300)
    other = np.where(random.random(300) < 0.5, one, random.integers(6, size=300))
    counts = np.zeros((4, 6))
    np.add.at(counts, (one, other), 1)
    expected = normalized_mutual_info_score(one, other)
    assert normalized_information(counts) == pytest.approx(expected)
    assert normalized_information(np.array([[5.0, 0], [0, 0]])) == 1


@given(
    rows=st.integers(1, 30),
    ratio=st.sampled_from([1, 2, 3, 4]),
    seed=st.integers(0, 20),
)
def test_rows_of_the_coarser_run_are_repeated_for_the_finer(
    rows: int, ratio: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    coarse = drawn(random, rows, 3)
    fine = drawn(random, rows * ratio, 5)
    for swapped in (False, True):
        one = pair_rows([coarse, coarse], [fine, fine], 0.01 * ratio, 0.01)
        if swapped:
            other = pair_rows([fine, fine], [coarse, coarse], 0.01, 0.01 * ratio)
            one = PairedRouting(other.b, other.a, other.lengths)
        assert one.lengths.tolist() == [rows * ratio] * 2
        np.testing.assert_array_equal(one.a, np.tile(np.repeat(coarse, ratio, axis=0), (2, 1)))
        np.testing.assert_array_equal(one.b, np.tile(fine, (2, 1)))


def test_beyond_the_end_the_last_row_goes_on() -> None:
    weights = np.eye(3, dtype=np.float32)
    resampled = resample(weights, 0.02, 0.01, 8)
    assert resampled.argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    # 30 ms rows at 20 ms: centres at 10, 30, 50 and 70 ms.
    assert resample(weights, 0.03, 0.02, 4).argmax(axis=1).tolist() == [0, 1, 1, 2]


def speakers_and_noise(random: np.random.Generator, known: bool, frames: bool):
    """Two routings that follow the speaker, or the phoneme of every frame, or neither."""
    lengths = random.integers(10, 30, size=60)
    speaker = np.arange(60) % 4
    of_row = np.repeat(speaker, lengths)
    phoneme = random.integers(4, size=len(of_row))
    sides = []
    for _ in range(2):
        choice = random.integers(4, size=len(of_row))
        if known:
            choice = np.where(random.random(len(choice)) < 0.8, of_row, choice)
        if frames:
            choice = np.where(random.random(len(choice)) < 0.8, phoneme, choice)
        sides.append(np.eye(4, dtype=np.float32)[choice])
    both = PairedRouting(*sides, lengths)
    shared = both.shared()
    return agreements(both, match(shared.sum(axis=0)), shared, both.firsts(), speaker).measures


def test_routings_that_ignore_each_other_agree_by_chance() -> None:
    for measure in speakers_and_noise(np.random.default_rng(0), known=False, frames=False):
        assert measure.p is not None
        assert measure.p > 0.01
        assert measure.corrected == pytest.approx(0, abs=0.05)


def test_routings_that_know_the_speaker_agree_beyond_chance_but_not_within_a_speaker() -> None:
    for measure in speakers_and_noise(np.random.default_rng(1), known=True, frames=False):
        assert measure.p == pytest.approx(1 / 201)
        assert measure.speaker_p is not None
        assert measure.speaker_p > 0.01
        assert measure.corrected is not None
        assert measure.corrected > 0.2
        assert measure.speaker_corrected == pytest.approx(0, abs=0.05)


def test_routings_that_follow_the_phoneme_agree_within_a_speaker_too() -> None:
    for measure in speakers_and_noise(np.random.default_rng(2), known=False, frames=True):
        assert measure.speaker_p == pytest.approx(1 / 201)
        assert measure.interval[0] < measure.value < measure.interval[1]


def test_few_utterances_of_a_speaker_do_not_pass_for_chance() -> None:
    # Two of each: half of the orders leave them where they are, which would look like knowledge.
    random = np.random.default_rng(6)
    a = np.eye(4, dtype=np.float32)[random.integers(4, size=2000)]
    both = PairedRouting(a, a, np.full(100, 20))
    shared = both.shared()
    for measure in agreements(
        both, match(shared.sum(axis=0)), shared, both.firsts(), np.arange(100) // 2
    ).measures:
        assert measure.value == pytest.approx(1)
        assert measure.speaker_chance == pytest.approx(measure.chance, abs=0.02)
        assert measure.speaker_p == pytest.approx(1 / 201)


def test_chance_is_cohens_where_experts_are_alike_and_frames_are_many() -> None:
    # Hard routings: weight and first experts are the same thing, and kappa its correction.
    random = np.random.default_rng(4)
    one = random.integers(3, size=6000)
    other = np.where(random.random(6000) < 0.6, one, random.integers(3, size=6000))
    eye = np.eye(3, dtype=np.float32)
    both = PairedRouting(eye[one], eye[other], np.full(600, 10))
    shared = both.shared()
    weight, first, _ = agreements(
        both, match(shared.sum(axis=0)), shared, both.firsts(), np.zeros(600, np.int64)
    ).measures
    from sklearn.metrics import cohen_kappa_score

    assert weight.value == pytest.approx(first.value, abs=1e-6)
    assert first.corrected == pytest.approx(cohen_kappa_score(one, other), abs=0.02)


def test_one_utterance_knows_no_chance() -> None:
    a = drawn(np.random.default_rng(0), 20, 3)
    both = paired(a, a, [20])
    shared = both.shared()
    for measure in agreements(
        both, match(shared.sum(axis=0)), shared, both.firsts(), np.array([0])
    ).measures:
        assert measure.value == pytest.approx(1, abs=1e-6)
        assert (measure.chance, measure.p, measure.speaker_p) == (None, None, None)
