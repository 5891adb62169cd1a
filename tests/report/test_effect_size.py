from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.report.effect_size import possible_bits
from phoneme_moe.report.information import conditional_information, mutual_information


def test_equal_speakers_and_enough_experts_allow_the_entropy_of_the_speakers() -> None:
    possible = possible_bits([5, 5, 5, 5], [[1, 1]] * 4, 16)
    assert possible == pytest.approx(
        {"speaker_information": 2, "phoneme_information": 1, "speaker_beyond_phonemes": 2}
    )
    assert possible_bits([5, 5, 5, 5], [[]] * 4, 2)["speaker_information"] == 1
    assert possible_bits([5, 5, 5, 5], [[]] * 4, 2)["phoneme_information"] == 0


@given(st.integers(0, 2**32 - 1))
def test_no_routing_has_more_than_the_possible(seed: int) -> None:
    random = np.random.default_rng(seed)
    speakers, phonemes, experts = random.integers(1, 5, 3)
    rows = random.integers(1, 9, (speakers, phonemes))
    sharp = random.choice([0.05, 1.0])
    weights = random.dirichlet(np.full(experts, sharp), (speakers, phonemes))
    mass = weights * rows[..., None]
    possible = possible_bits(rows.sum(axis=1).tolist(), rows, int(experts))
    slack = 1e-9
    assert mutual_information(mass.sum(axis=1)) <= possible["speaker_information"] + slack
    assert mutual_information(mass.sum(axis=0)) <= possible["phoneme_information"] + slack
    assert conditional_information(mass) <= possible["speaker_beyond_phonemes"] + slack
