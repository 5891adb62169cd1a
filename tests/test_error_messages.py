from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.errors import MOST_NAMES, suggest


@given(names=st.lists(st.from_regex(r"[a-e]{1,3}", fullmatch=True)))
def test_known_names_are_told_once_and_not_by_the_thousand(names: list[str]) -> None:
    distinct = sorted(set(names))
    told = re.fullmatch(r" \(known: (.*?)(?: and (\d+) more)?\)", suggest("zzzzzzzz", names))
    assert told is not None
    shown = told[1].split(", ") if told[1] else []
    assert shown == distinct[:MOST_NAMES]
    assert len(shown) + int(told[2] or 0) == len(distinct)


def test_a_close_name_of_thousands_is_told_alone() -> None:
    names = [f"ann_f1_{number:05}" for number in range(4512)]
    assert suggest("ann_f1_000042", names) == " (did you mean 'ann_f1_00042'?)"
    assert len(suggest("what", names)) < 1000
