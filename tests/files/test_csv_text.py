"""Text cells in spreadsheets."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.files.csv_text import csv_cell, csv_text, original_cell


@pytest.mark.parametrize(
    "text", ["=1+2", "+cmd|' /C calc'!A0", "-1+2", "@SUM(A1)", "@U", "＝1", "'=1"]
)
def test_a_formula_becomes_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "cell",
    ["-3.2", "+5", "1e-05", "-1E+5", -3.2, 7, None, "a-b", "a=b", "'a'", "", "ˈa", "@", "-"],
)
def test_numbers_and_other_text_stay(cell: object) -> None:
    assert csv_cell(cell) == cell


def test_control_characters_do_not_break_a_row() -> None:
    text = csv_text([["\t=1", "\r=1", "a\nb", 'x"y,z', "\x1b[2J"]])
    assert text == '\\t=1,\\r=1,a\\nb,"x""y,z",\\x1b[2J\n'


@given(st.text("'=+-@ a1.e,\"\u0259", max_size=6))
def test_the_text_comes_back(text: str) -> None:
    (row,) = csv.reader(io.StringIO(csv_text([[text, "end"]])))
    cell = row[0]
    if cell.startswith(("=", "+", "-", "@")) and len(cell) > 1:
        float(cell)
    assert original_cell(cell) == text
