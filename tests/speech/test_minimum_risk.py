"""Against every path there is and errors counted by another program, and by hand."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.errors import InputError
from phoneme_moe.speech.beam_search import Hypothesis
from phoneme_moe.speech.decoding import Decoding
from phoneme_moe.speech.minimum_risk import by_expected_errors
from phoneme_moe.speech.phonemes import BLANK
from phoneme_moe.speech.scoring import score_utterance


def errors(reference: tuple[int, ...], hypothesis: tuple[int, ...]) -> int:
    return score_utterance([str(o) for o in reference], [str(o) for o in hypothesis]).errors


def guess(outputs: tuple[int, ...], probability: float) -> Hypothesis:
    return Hypothesis(outputs, float(np.log(probability)), 0.0, 0.0)


def test_what_the_others_agree_on_beats_the_likeliest() -> None:
    # By hand: 1 2 3 costs .3 * 0 + .3 * 1 + .4 * 3 = 1.5, 1 2 costs .3 + .4 * 3, and 4 5 6 .3 * 6.
    found = by_expected_errors(
        [
            guess((4, 5, 6), 0.4),
            guess((1, 2, 3), 0.3),
            guess((1, 2), 0.3),
        ]
    )
    assert [own.outputs for own in found] == [(1, 2, 3), (1, 2), (4, 5, 6)]


def test_equals_keep_their_order_and_nothing_is_a_reading_too() -> None:
    both = [guess((), 0.5), guess((1,), 0.5)]
    assert by_expected_errors(both) == both
    assert by_expected_errors(both[::-1]) == both[::-1]
    assert by_expected_errors(both[:1]) == both[:1]


@given(seed=st.integers(0, 10_000), shape=st.sampled_from([(6, 3), (4, 4)]))
def test_of_all_readings_it_has_the_fewest_expected_errors(
    seed: int, shape: tuple[int, int]
) -> None:
    random = np.random.default_rng(seed)
    posteriors = random.dirichlet(np.full(shape[1], 0.5), shape[0]).astype(np.float32)
    truth: dict[tuple[int, ...], float] = {}
    for path in product(range(shape[1]), repeat=shape[0]):
        outputs = tuple(output for output, _ in groupby(path) if output != BLANK)
        own = float(np.prod(posteriors[np.arange(len(path)), list(path)], dtype=float))
        truth[outputs] = truth.get(outputs, 0.0) + own
    expected = {
        reading: sum(p * errors(said, reading) for said, p in truth.items()) for reading in truth
    }
    with np.errstate(divide="ignore"):
        (found,) = Decoding(least_risk=True).search(
            np.log(posteriors)[None], np.array([shape[0]]), beam=400, nbest=2
        )
    assert len(found) == 2
    assert expected[found[0].outputs] == pytest.approx(min(expected.values()), abs=1e-4)
    assert expected[found[0].outputs] <= expected[found[1].outputs] + 1e-4


def test_it_is_a_setting_of_the_run() -> None:
    data = Decoding(beam=8, least_risk=True).to_json()
    assert Decoding.from_json(data, "here").least_risk
    del data["least_risk"]
    assert not Decoding.from_json(data, "here").least_risk
    with pytest.raises(InputError, match="least_risk: found 1, expected true or false"):
        Decoding.from_json(data | {"least_risk": 1}, "here")
