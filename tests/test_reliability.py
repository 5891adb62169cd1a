"""Every case of docs/reliability.md has the right answer."""

import re
import shutil

import pytest

from benchmarks.reliability import answer
from benchmarks.reliability_cases import CASES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", CASES, ids=[case.what for case in CASES])
def test_the_answer_is_right(case):
    if case.prefix and shutil.which(case.prefix[0]) is None:
        pytest.skip(f"no program {case.prefix[0]} here")
    status, text = answer(case)
    assert status == case.status, text
    assert re.search(case.answer, text), text
