"""Writing of JSON with a line for each key."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.files.writing import write_json_sections

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(sections=st.dictionaries(st.text(), VALUES, min_size=1, max_size=4))
def test_sections_are_read_back_one_from_each_line(sections: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        write_json_sections(path, sections)
        text = path.read_text(encoding="utf-8")
    assert list(json.loads(text).items()) == list(sections.items())
    first, *lines, last, end = text.split("\n")
    assert (first, last, end) == ("{", "}", "")
    apart = [json.loads("{" + line.removesuffix(",") + "}") for line in lines]
    assert apart == [{key: value} for key, value in sections.items()]
