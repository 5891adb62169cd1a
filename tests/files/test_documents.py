"""Documents from a stranger: every one is refused in one line, in little memory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.quality import Quality
from phoneme_moe.files.documents import Document, shorten

QUALITY = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "gate" / "quality.json"


class Small(Document):
    number: int
    names: tuple[str, ...] = ()


def refusal(content: bytes, tmp_path: Path) -> str:
    file = tmp_path / "small.json"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Small.read(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert len(message.splitlines()) == 1
    assert len(message) < len(str(file)) + 300
    return message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b'{"number": 1', "not valid JSON"),
        (b"[" * 10_000, "recursion limit exceeded"),
        (b'{"number":' * 10_000, "recursion limit exceeded"),
        (b'{"number": ' + b"9" * 5_000 + b"}", "number out of range"),
        (
            b'{"number": ' + b"9" * 4_000 + b"}",
            "number: found a number of 13288 bits, expected at most 63",
        ),
        (b'{"number": 1e999}', "number: found inf"),
        (b'{"number": "' + b"x" * 10_000 + b'"}', "number: found 'xxx"),
        (b'{"number": ' + b"[" * 150 + b"]" * 150 + b"}", "number: found [[["),
        (b'{"number": 1, "a\\nb": 2}', r"unknown key 'a\nb'"),
        (b'{"number": 1, "' + b"k" * 10_000 + b'": 2}', "unknown key 'kkk"),
        (b'{"number": 1, "names": ["\\ud800"]}', "not valid JSON"),
        (b'{"number": 1, "names": ["\xff"]}', "is not UTF-8"),
        (b'{"number": 1}' + b" " * Small.max_bytes, "expected at most 1,000,000 bytes of JSON"),
    ],
)
def test_an_unusable_document_is_refused_in_one_short_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    assert words in refusal(content, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_document_may_have_the_encodings_of_text_files(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "small.json"
    file.write_bytes('{"number": 1, "names": ["ɯ"]}'.encode(encoding))
    assert Small.read(file) == Small(number=1, names=("ɯ",))


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    folder, pipe, loop = (tmp_path / name for name in ("folder", "pipe", "loop"))
    folder.mkdir()
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for file, words in (
        (folder, "found a folder, expected a file of JSON"),
        (pipe, "found a pipe or device, expected a file of JSON"),
        (Path("/dev/zero"), "found a pipe or device, expected a file of JSON"),
        (loop, "cannot be read"),
        (tmp_path / "missing", "cannot be read"),
    ):
        with pytest.raises(InputError, match=f"^{file}: {words}"):
            Small.read(file)


def test_only_a_missing_document_is_none(tmp_path: Path) -> None:
    assert Small.read_if_present(tmp_path / "missing") is None
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match="cannot be read"):
        Small.read_if_present(loop)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=5), parts),
    max_leaves=5,
)


def places(value: Any) -> list[list[Any]]:
    """The keys of every value in a document."""
    items = value.items() if isinstance(value, dict) else ()
    return [[key, *more] for key, inner in items for more in ([], *places(inner))]


@given(data=st.data(), value=JSON_VALUES)
def test_a_document_with_a_changed_value_is_read_or_refused_in_one_line(
    data: st.DataObject, value: Any
) -> None:
    document = json.loads(QUALITY.read_text())
    *above, key = data.draw(st.sampled_from(places(document)))
    target = document
    for name in above:
        target = target[name]
    target[key] = value
    try:
        read = Quality.parse_json(json.dumps(document), "quality.json")
    except InputError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
        assert str(error).startswith(f"quality.json: {'.'.join([*above, key])}")  # noqa: PT017
    else:
        assert json.loads(read.model_dump_json(exclude_unset=True)) == document


def test_the_start_of_a_value_is_enough_for_a_message() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, 10**100_000, "x" * 10**6, list(range(10**6)), {"a": "b" * 10**6}):
        assert len(shorten(value)) <= 83
    assert shorten(["a", 1.5, None]) == "['a', 1.5, None]"
