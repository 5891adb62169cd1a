from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.report.page.charts import labels_apart

LABEL_SIZE = 90.0, 14.0


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 280)), min_size=1, max_size=14))
def test_no_label_is_written_over_another(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, dtype=float).T
    lower = labels_apart(x, y, LABEL_SIZE)
    assert (lower >= 0).all()
    for i, j in combinations(range(len(x)), 2):
        beside = abs(x[i] - x[j]) >= LABEL_SIZE[0]
        below = abs(y[i] + lower[i] - y[j] - lower[j]) >= LABEL_SIZE[1] - 1e-9
        assert beside or below


def test_labels_with_room_stay_and_those_without_a_place_are_left_out() -> None:
    lower = labels_apart(np.array([0.0, 0, 100, 0]), np.array([10.0, 10, 10, np.nan]), LABEL_SIZE)
    assert lower.tolist() == [0, 14, 0, 0]
