"""Numbers as text: never a negative zero, never a probability of nought."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.report.number_format import (
    from_to,
    in_percent,
    names,
    number,
    p_value,
    percent,
    percent_range,
    plural,
    points,
    points_range,
    probability,
    seconds_text,
    signed,
    told_apart,
)


@pytest.mark.parametrize(
    ("share", "places", "text"),
    [
        (0.83, 0, "83 %"),
        (0.004, 0, "<1 %"),
        (0.0004, 0, "0 %"),
        (0.0, 0, "0 %"),
        (0.0361, 1, "3.6 %"),
        (0.004, 1, "0.4 %"),
        (1.0, 0, "100 %"),
    ],
)
def test_a_small_share_is_not_called_nothing(share: float, places: int, text: str) -> None:
    assert percent(share, places) == text


def test_a_range_that_rounds_to_one_value_is_one_value() -> None:
    assert percent_range(0.831, 0.829) == "83 %"
    assert percent_range(0.03, 0.83) == "3–83 %"
    assert in_percent(0.8319) == "83.2"


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2))
def test_a_change_never_reads_as_none(first: float, second: float, places: int) -> None:
    before, after = told_apart(first, second, places)
    text = from_to(first, second, places)
    if before == after:
        assert abs(first - second) < 1.0001e-4
        assert text == f"by less than 0.01 points from {before}"
    else:
        assert text == f"from {before} to {after}"


def test_decimals_that_tell_two_values_apart() -> None:
    assert from_to(0.0115, 0.0141) == "from 1.1 % to 1.4 %"
    assert from_to(0.001, 0.002) == "from 0.1 % to 0.2 %"
    assert from_to(0.036, 0.194) == "from 4 % to 19 %"
    assert told_apart(2.04, 2.01, 1, number) == ("2.04", "2.01")
    assert seconds_text(0.15) == "0.15 s"
    assert seconds_text(12.34) == "12.3 s"


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_signs_are_read_back_and_zero_has_none(value: float, places: int) -> None:
    text = signed(value, places)
    back = float(text.replace("−", "-"))
    assert back == pytest.approx(value, abs=0.5000001 * 10**-places)
    assert (text[0] in "+−") == (back != 0)
    assert number(value, places) == text.lstrip("+")


def test_changes_are_in_points() -> None:
    assert points(0.085) == "+8.5"
    assert points(-0.085, 2) == "−8.50"
    assert points(-0.0001) == "0.0"
    assert points(None) == number(None) == signed(None) == probability(None) == "–"
    assert points_range(-0.01, 0.094) == "−1.0 to +9.4"
    assert points_range(0.0002, 0.013) == "+0.02 to +1.30"
    assert points_range(-0.0002, 0.013) == "0.0 to +1.3"


@given(st.floats(0, 1))
def test_no_probability_is_written_as_zero(p: float) -> None:
    text = probability(p)
    assert text == "<0.001" or float(text) == pytest.approx(p, abs=0.0050001)
    assert text.strip("0.")
    assert p_value(p).replace(" = ", "").replace(" < ", "<") == f"p{text}"


def test_the_least_p_of_so_many_permutations_is_a_bound() -> None:
    assert p_value(0.001, 999) == "p ≤ 0.001"
    assert p_value(0.002, 999) == "p = 0.002"
    assert p_value(1 / 200, 199) == "p ≤ 0.005"
    assert p_value(0.001) == "p = 0.001"
    assert probability(1 / 10001, 10000) == "<0.001"


def test_lists_of_names_end_in_a_count() -> None:
    assert names([]) == ""
    assert names(["a", "b"]) == "a and b"
    assert names(["a", "b", "c"], 2) == "a, b and c"
    assert names(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert plural(1, "frame") == "1 frame"
    assert plural(1200, "frame") == "1,200 frames"
