from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("parselmouth", reason="needs praat-parselmouth (extra praat)")

from phoneme_moe_reproductions.jacobs_1991.systems import (
    SYSTEMS,
    build,
    forward,
    four_vowels,
    gradient_descent,
)


def test_the_cases_are_four_vowels_of_50_and_25_speakers() -> None:
    inputs, targets, training, vowel = four_vowels()
    assert inputs.shape == (75 * 4 * 2, 2)
    assert int(training.sum()) == 50 * 4 * 2
    # Half of the cases each way, and both pairs are split.
    assert targets.mean().item() == 0.5
    assert {targets[vowel == v].unique().item() for v in np.unique(vowel)} == {0.0, 1.0}
    assert len(np.unique(vowel)) == 4


@pytest.mark.parametrize("name", ["4 experts", "BP 6 hidden"])
def test_runs_side_by_side_are_the_runs_alone(name: str) -> None:
    network = build(SYSTEMS[name], runs=3, seed=0)
    alone = build(SYSTEMS[name], runs=1, seed=1)
    with torch.no_grad():
        for parameter, of_all in zip(alone.parameters(), network.parameters(), strict=True):
            parameter.copy_(of_all.view(3, -1, *of_all.shape[1:])[1])
    inputs = four_vowels()[0]
    for of_three, of_one in zip(forward(network, inputs), forward(alone, inputs), strict=True):
        torch.testing.assert_close(of_three[1:2], of_one)
    # And so they stay while they learn: a run neither pulls nor stops another.
    together = gradient_descent(network, "blend", 1.0, max_epochs=60)
    single = gradient_descent(alone, "blend", 1.0, max_epochs=60)
    assert together[1] == single[0]
    blend = forward(network, inputs)[0][1], forward(alone, inputs)[0][0]
    torch.testing.assert_close(*blend, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_run_stops_at_the_error_asked_for_and_a_slow_one_has_failed() -> None:
    network = build(SYSTEMS["4 experts"], runs=2, seed=0)
    assert gradient_descent(network, "competitive", 1e-3, max_epochs=3) == [None, None]
    runs = gradient_descent(network, "competitive", 30.0, max_epochs=3000)
    for run in runs:
        assert run is not None
        assert 100 < run["epochs"] < 3000
        assert run["train"] > 80
        assert 1 <= run["in_use"] <= 4
        assert 1 <= run["per_case"] <= 4
