from __future__ import annotations

import pytest

from phoneme_moe_reproductions.statistics import Estimate, estimate, pooled_t_test


def test_a_mean_and_its_interval_are_those_of_a_table_of_t() -> None:
    # Four values 1..4: mean 2.5, s.d. 1.29099, t(0.975, 3) = 3.18245.
    result = estimate([1, 2, 3, 4])
    assert result.mean == 2.5
    assert result.sd == pytest.approx(1.290994)
    assert result.high - result.mean == pytest.approx(3.182446 * 1.290994 / 2)
    assert result.mean - result.low == pytest.approx(result.high - result.mean)
    assert result.count == 4


def test_one_run_has_no_spread_and_none_has_no_mean() -> None:
    assert estimate([7]) == Estimate(7, 0, 7, 7, 1)
    with pytest.raises(ValueError, match="no runs"):
        estimate([])


def test_the_t_test_pools_the_variance() -> None:
    # Means 2 and 5, variance 1 each, three runs each: t = 3 / sqrt(2/3).
    result = pooled_t_test([4, 5, 6], [1, 2, 3])
    assert result.t == pytest.approx(3 / (2 / 3) ** 0.5)
    assert result.degrees == 4
    assert result.p == pytest.approx(0.021312, abs=1e-5)
    assert pooled_t_test(range(25), range(25)).degrees == 48
