"""Against every path there is and errors counted by another program, and by hand."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.decoding.bayes_risk import average_nbest, sort_by_bayes_risk
from phoneme_moe.decoding.beam_search import Hypothesis
from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.document import DecodingDocument
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.scoring import score_utterance
from phoneme_moe.errors import InputError


def errors(reference: tuple[int, ...], hypothesis: tuple[int, ...]) -> int:
    return score_utterance([str(o) for o in reference], [str(o) for o in hypothesis]).errors


def guess(outputs: tuple[int, ...], probability: float) -> Hypothesis:
    return Hypothesis(outputs, float(np.log(probability)), 0.0, 0.0)


def test_what_the_others_agree_on_beats_the_likeliest() -> None:
    # By hand: 1 2 3 costs .3 * 0 + .3 * 1 + .4 * 3 = 1.5, 1 2 costs .3 + .4 * 3, and 4 5 6 .3 * 6.
    hypotheses = sort_by_bayes_risk(
        [
            guess((4, 5, 6), 0.4),
            guess((1, 2, 3), 0.3),
            guess((1, 2), 0.3),
        ]
    )
    assert [hypothesis.outputs for hypothesis in hypotheses] == [(1, 2, 3), (1, 2), (4, 5, 6)]


def test_ties_keep_their_order_and_an_empty_hypothesis_is_allowed() -> None:
    both = [guess((), 0.5), guess((1,), 0.5)]
    assert sort_by_bayes_risk(both) == both
    assert sort_by_bayes_risk(both[::-1]) == both[::-1]
    assert sort_by_bayes_risk(both[:1]) == both[:1]


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), shape=st.sampled_from([(6, 3), (4, 4)]))
def test_the_first_hypothesis_has_the_fewest_expected_errors(
    seed: int, shape: tuple[int, int]
) -> None:
    random = np.random.default_rng(seed)
    posteriors = random.dirichlet(np.full(shape[1], 0.5), shape[0]).astype(np.float32)
    truth: dict[tuple[int, ...], float] = {}
    for path in product(range(shape[1]), repeat=shape[0]):
        outputs = tuple(output for output, _ in groupby(path) if output != BLANK)
        probability = float(np.prod(posteriors[np.arange(len(path)), list(path)], dtype=float))
        truth[outputs] = truth.get(outputs, 0.0) + probability
    expected = {
        outputs: sum(p * errors(reference, outputs) for reference, p in truth.items())
        for outputs in truth
    }
    with np.errstate(divide="ignore"):
        (hypotheses,) = Decoding(minimum_bayes_risk=True).search(
            np.log(posteriors)[None], np.array([shape[0]]), beam=400, nbest=2
        )
    assert len(hypotheses) == 2
    assert expected[hypotheses[0].outputs] == pytest.approx(min(expected.values()), abs=1e-4)
    assert expected[hypotheses[0].outputs] <= expected[hypotheses[1].outputs] + 1e-4


def test_passes_have_equal_weight_by_hand() -> None:
    # Scores of a pass may have a constant offset: only their differences matter.
    one = [guess((1, 2), 0.6e-9), guess((1,), 0.4e-9)]
    other = [guess((3,), 0.5), guess((1,), 0.3), guess((), 0.2)]
    hypotheses = average_nbest([one, other])
    assert [hypothesis.outputs for hypothesis in hypotheses] == [(1,), (1, 2), (3,), ()]
    np.testing.assert_allclose(
        np.exp([hypothesis.score for hypothesis in hypotheses]), [0.35, 0.3, 0.25, 0.1]
    )


@given(seed=st.integers(0, 10_000))
def test_averaging_identical_passes_changes_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(5))
    group = [guess(tuple(random.integers(1, 4, size=n)), p) for n, p in enumerate(shares)]
    group.sort(key=lambda hypothesis: -hypothesis.score)
    hypotheses = average_nbest([group, group])
    assert [hypothesis.outputs for hypothesis in hypotheses] == [
        hypothesis.outputs for hypothesis in group
    ]
    np.testing.assert_allclose(
        [hypothesis.score for hypothesis in hypotheses], [hypothesis.score for hypothesis in group]
    )


def test_what_is_next_to_impossible_keeps_a_score() -> None:
    sure = [guess((1,), 1.0), Hypothesis((2,), -5000.0, 0.0, 0.0)]
    assert average_nbest([sure, sure])[1].score == pytest.approx(-5000.0)


def test_minimum_bayes_risk_search_averages_its_passes() -> None:
    random = np.random.default_rng(0)
    first, second = np.log(random.dirichlet(np.ones(3), (2, 2, 6))).astype(np.float32)
    lengths, later = np.array([6, 4]), np.array([6, 5])
    alone = Decoding(minimum_bayes_risk=False)
    parts = [
        alone.search(posteriors, frames, 400, 400)
        for posteriors, frames in ((first, lengths), (second, later))
    ]
    hypotheses = Decoding(minimum_bayes_risk=True).search(
        first, lengths, 400, 400, [(second, later)]
    )
    for row in range(2):
        assert hypotheses[row] == sort_by_bayes_risk(average_nbest([part[row] for part in parts]))
    assert alone.search(first, lengths, 400, 1, [(second, later)]) == [
        hypothesis[:1] for hypothesis in parts[0]
    ]


def test_input_is_shifted_where_nbest_lists_are_averaged() -> None:
    decoding = Decoding(beam=8, minimum_bayes_risk=True, num_shifts=4)
    assert [decoding.shifts_for(beam) for beam in (None, 3, 0)] == [4, 4, 1]
    assert Decoding(beam=8, num_shifts=4).shifts_for(None) == 1
    data = decoding.to_document().model_dump(mode="json")
    assert Decoding.from_document(DecodingDocument.parse(data, "here"), "here") == decoding
    del data["num_shifts"]
    assert Decoding.from_document(DecodingDocument.parse(data, "here"), "here").num_shifts == 1
    for key in ("num_shifts", "phases"):  # the former key is read too
        assert (
            Decoding.from_document(
                DecodingDocument.parse(data | {key: 4}, "here"), "here"
            ).num_shifts
            == 4
        )
        with pytest.raises(InputError, match=f"here: {key}: found 9, expected at most 8"):
            Decoding.from_document(DecodingDocument.parse(data | {key: 9}, "here"), "here")


def test_it_is_a_setting_of_the_run() -> None:
    data = Decoding(beam=8, minimum_bayes_risk=True).to_document().model_dump(mode="json")
    assert Decoding.from_document(DecodingDocument.parse(data, "here"), "here").minimum_bayes_risk
    del data["minimum_bayes_risk"]
    assert not Decoding.from_document(
        DecodingDocument.parse(data, "here"), "here"
    ).minimum_bayes_risk
    for key in ("minimum_bayes_risk", "least_risk"):  # the former key is read too
        assert Decoding.from_document(
            DecodingDocument.parse(data | {key: True}, "here"), "here"
        ).minimum_bayes_risk
        with pytest.raises(InputError, match=f"here: {key}: found 1, expected a valid boolean"):
            Decoding.from_document(DecodingDocument.parse(data | {key: 1}, "here"), "here")
