"""YAML as plain data: the values of PyYAML, and no document that is larger than it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.errors import InputError
from phoneme_moe.files.yaml_files import MAX_BYTES, parse_yaml, read_yaml

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["C"]), max_size=10),
    lambda values: (
        st.lists(values, max_size=4)
        | st.dictionaries(st.text(st.characters(categories=["L"]), min_size=1), values, max_size=4)
    ),
    max_leaves=20,
)


@given(data=PLAIN, flow=st.booleans())
def test_plain_data_survives(data: Any, flow: bool) -> None:
    text = yaml.safe_dump(data, allow_unicode=True, default_flow_style=flow)
    assert parse_yaml(text, "it") == data


@given(st.text(max_size=60) | st.text("{}[]:,-?&*!|>'\"#%@` \n\tab1.<", max_size=60))
def test_any_text_is_data_or_refused_in_one_line(text: str) -> None:
    try:
        data = parse_yaml(text, "it")
    except InputError as error:
        message = str(error)
    else:
        message = "it: is data"
        again = yaml.safe_dump(data, allow_unicode=True)
        assert parse_yaml(again, "again") == data or "nan" in again
    assert message.startswith("it: ")
    assert len(message.splitlines()) == 1


def test_keys_and_dates_are_text() -> None:
    assert parse_yaml("on: 2020-02-30\n1: off\n", "it") == {"on": "2020-02-30", "1": False}


def test_aliases_are_copies_and_merges_do_not_overwrite() -> None:
    text = "a: &a {x: 1, y: [2]}\nb: *a\nc: {<<: *a, x: 3}\nd: {x: 4, <<: [*a, {z: 5}]}"
    data: Any = parse_yaml(text, "it")
    assert data == yaml.safe_load(text)
    data["b"]["y"].append(9)
    assert data["a"] == {"x": 1, "y": [2]}


def laughs(levels: int, width: int = 9) -> str:
    lines = [f"a0: &a0 [{', '.join(['lol'] * width)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (laughs(9), "line 6: expected at most 100,000 values, with the copies of aliases"),
        (laughs(9).replace("[", "{<<: [").replace("]", "]}"), "expected a mapping"),
        ("a: &a [*a]", "line 1: *a is an alias of a value that contains it"),
        ("a: *b", "line 1: *b is an alias of nothing"),
        ("a: &x b\n*x : c", "line 2: found an alias as a key"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' occurs twice"),
        ("? [1]\n: 2", "line 1: found a list or mapping as a key"),
        ("a: !!python/object/apply:os.system [x]", "line 1: found the tag"),
        ("a: !!binary aGk=", "line 1: found the tag"),
        ("a: 1\n---\nb: 1", "line 2: found a second document"),
        ("- " * 10_000, "line 1: expected at most 50 levels"),
        ("[" * 10_000, "line 1"),
        ("a: " + "9" * 5_000, "a number beyond 64 bits"),
        ("a: " + "1:" * 50_000 + "1", "a number beyond 64 bits"),
        ("a: !!int ''", "line 1: found '', which is no int"),
        ("a: \x01", "not valid YAML"),
        ("a: \ud800", "not valid YAML"),
        ("a:\n b: [1", "not valid YAML (line 2)"),
    ],
)
def test_hostile_documents_are_refused_by_line(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "it")
    assert words in str(caught.value)
    assert str(caught.value).startswith("it: ")
    assert len(str(caught.value)) < 300


def test_files_that_never_end_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InputError, match=r"large\.yaml: expected at most 2,000,000 bytes"):
        read_yaml(large)
    with pytest.raises(InputError, match=r"gone\.yaml: cannot be read \(No such file"):
        read_yaml(tmp_path / "gone.yaml")
