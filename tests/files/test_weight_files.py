"""Safetensors files from a stranger: the header is checked first, and nothing is unpickled."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from phoneme_moe.errors import InputError
from phoneme_moe.files.weight_files import read_tensors, read_weights

GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
TERA = 1 << 40


def written(header: Any, content: bytes = bytes(8), size: int | None = None) -> bytes:
    """A file with any header.

    Args:
        header: Its content, or its text.
        content: What follows it.
        size: Its size as the file states it.
    """
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + content


def changed(**changes: Any) -> dict[str, Any]:
    return {"a": GOOD["a"] | changes}


class Explodes:
    """Unpickled, it leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str, int]]:
        return os.mknod, (str(self.file), 0o600)


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.arange(4), "c": torch.zeros(0, 5)}
    save_file(tensors, tmp_path / "a.safetensors")
    shapes: dict[str, tuple[int, ...]] = {}
    found = read_tensors(tmp_path / "a.safetensors", shapes.update)
    assert shapes == {"a": (3, 2), "b": (4,), "c": (0, 5)}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_header_as_long_as_a_pickle_begins_is_read(tmp_path: Path, protocol: int) -> None:
    begin = pickle.dumps({}, protocol)[:2]
    file = tmp_path / "a.safetensors"
    file.write_bytes(written(json.dumps(GOOD).encode().ljust(int.from_bytes(begin, "little"))))
    assert file.read_bytes().startswith(begin)
    assert read_tensors(file, lambda shapes: None).keys() == {"a"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not readable as safetensors"),
        (written(changed(shape=[TERA], data_offsets=[0, 4 * TERA])), "not readable"),
        (written(changed(shape=[TERA])), "not readable"),
        (written(changed(shape=[1 << 63, 1 << 63])), "not readable"),
        (written(changed(shape=[-2])), "not readable"),
        (written(changed(data_offsets=[8, 0])), "not readable"),
        (written(changed(data_offsets=[1, 9])), "not readable"),
        (written(GOOD | {"b": GOOD["a"]}), "not readable"),
        (written(GOOD, bytes(100)), "not readable"),
        (written(GOOD, b""), "not readable"),
        (written(GOOD, size=TERA), "not readable"),
        (written(b"{" * 1000), "not readable"),
        (written(b'{"a":' * 10_000), "not readable"),
        (written(changed(dtype="F8_E4M3", shape=[8])), "a: found type F8_E4M3, expected F32"),
        (written(changed(dtype="U16", shape=[4])), "a: found type U16, expected F32"),
        (
            written(GOOD, struct.pack("<ff", 1, float("nan"))),
            "a: found a number that is not finite",
        ),
        (
            written(GOOD, struct.pack("<ff", float("inf"), 1)),
            "a: found a number that is not finite",
        ),
    ],
)
def test_a_file_that_lies_is_refused_in_one_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_tensors(file, lambda shapes: None)
    message = str(caught.value)
    assert message.startswith(f"{file}: {words}")
    assert len(message.splitlines()) == 1


def test_a_pickle_is_named_and_never_unpickled(tmp_path: Path) -> None:
    file, canary = tmp_path / "a.safetensors", tmp_path / "exploded"
    value = {"a": Explodes(canary)}
    for save in (
        lambda: torch.save(value, file),
        lambda: torch.save(value, file, _use_new_zipfile_serialization=False),
        lambda: file.write_bytes(pickle.dumps(value)),
        lambda: file.write_bytes(pickle.dumps(value, 0)),
    ):
        save()
        with pytest.raises(InputError, match="not readable as safetensors"):
            read_tensors(file, lambda shapes: None)
    for protocol in (2, 3, 4, 5):
        file.write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(InputError, match="found a pickle"):
            read_tensors(file, lambda shapes: None)
    assert not canary.exists()


def test_no_memory_is_taken_before_the_shapes_are_right(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    expected = {"a": torch.empty(2, device="meta")}
    # Files with a hole, which occupies nothing: of 2 GB, and too large to be mapped.
    for number, words in (
        (1 << 29, rf"a: found shape \({1 << 29},\), expected \(2,\)"),
        (TERA, "a.safetensors"),
    ):
        file.write_bytes(written(changed(shape=[number], data_offsets=[0, 4 * number]), b""))
        os.truncate(file, file.stat().st_size + 4 * number)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(InputError, match=words):
            read_weights(file, expected)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_weights_have_the_expected_names_shapes_and_kinds(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    expected = {"a": torch.empty(2, device="meta")}
    for tensors, words in (
        ({"a": torch.zeros(3)}, r"a: found shape \(3,\), expected \(2,\)"),
        ({"a": torch.zeros(2), "b": torch.zeros(1)}, r"b: found shape \(1,\), expected None"),
        ({}, r"a: found shape None, expected \(2,\)"),
        ({"a": torch.zeros(2, dtype=torch.int64)}, "a: found torch.int64, expected torch.float32"),
    ):
        save_file(tensors, file)
        with pytest.raises(InputError, match=words):
            read_weights(file, expected)
    save_file({"a": torch.ones(2, dtype=torch.float16)}, file)
    assert read_weights(file, expected)["a"].tolist() == [1, 1]
