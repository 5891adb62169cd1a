"""Checks of an ONNX file before onnxruntime opens it: what an exported model never has.

The file is a protocol buffer (https://onnx.ai/onnx/repo-docs/IR.html). Only the fields that matter
are looked at, so that no other package is needed.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import require_regular, shorten

MAX_NODES = 100_000

# Fields by number, in the messages ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto.
_GRAPH, _TRAINING, _FUNCTIONS = 7, 20, 25
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_OPERATOR, _ATTRIBUTE, _DOMAIN = 4, 5, 7
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS, _SPARSE_TENSOR, _SPARSE_TENSORS = 5, 6, 10, 11, 22, 23
_DIMENSIONS, _NAME, _EXTERNAL_DATA, _DATA_LOCATION = 1, 8, 13, 14

_STANDARD_DOMAINS = {"", "ai.onnx"}


class _NotOnnxError(Exception):
    """The file is no protocol buffer, or not one of an exported model."""


def check_onnx_file(path: Path) -> None:
    """Checks that a model is a plain graph of standard operators with its weights in the file.

    Loops could run forever, weights in other files could be any file, and a tensor may claim to be
    larger than its data.

    Raises:
        InputError: It is not; or there is no such file, or something else than a file.
    """
    require_regular(path, "an ONNX model")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: not a valid ONNX model: the file is empty")
    with path.open("rb") as stream:
        content = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        _check_model(content)
    except _NotOnnxError as error:
        raise InputError(f"{path}: not a valid ONNX model: {error}") from error


def _check_model(model: memoryview) -> None:
    num_nodes = 0
    for field, value in _fields(model):
        if field in {_TRAINING, _FUNCTIONS}:
            raise _NotOnnxError("found functions or training, expected a graph")
        for part, content in _fields(_message(value)) if field == _GRAPH else ():
            if part == _NODE:
                num_nodes += 1
                if num_nodes > MAX_NODES:
                    raise _NotOnnxError(f"expected at most {MAX_NODES:,} nodes")
                _check_node(_message(content))
            elif part == _INITIALIZER:
                _check_tensor(_message(content), len(model))
            elif part == _SPARSE_INITIALIZER:
                raise _NotOnnxError("found a sparse tensor, expected dense ones")


def _check_node(node: memoryview) -> None:
    fields = list(_fields(node))
    operator = "".join(_text(value) for field, value in fields if field == _OPERATOR)
    for field, value in fields:
        if field == _DOMAIN and _text(value) not in _STANDARD_DOMAINS:
            raise _NotOnnxError(
                f"found the operator {shorten(operator)} of {shorten(_text(value))}, expected a "
                "standard one"
            )
        for part, content in _fields(_message(value)) if field == _ATTRIBUTE else ():
            if part in {_SUBGRAPH, _SUBGRAPHS}:
                raise _NotOnnxError(
                    f"found the operator {shorten(operator)} with a graph (a loop or a condition), "
                    "expected none"
                )
            if part in {_SPARSE_TENSOR, _SPARSE_TENSORS}:
                raise _NotOnnxError("found a sparse tensor, expected dense ones")
            if part in {_TENSOR, _TENSORS}:
                _check_tensor(_message(content), len(node))


def _check_tensor(tensor: memoryview, num_bytes: int) -> None:
    """Checks a tensor; ``num_bytes`` is an upper limit of the size of its data."""
    fields = list(_fields(tensor))
    name = "".join(_text(value) for field, value in fields if field == _NAME)
    # Location 0 is the file itself; quantised models say so.
    if any(
        field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value) for field, value in fields
    ):
        raise _NotOnnxError(
            f"the tensor {shorten(name)} is in another file, expected it in this one"
        )
    sizes: list[int] = []
    for field, value in fields:
        if field == _DIMENSIONS:
            sizes += [value] if isinstance(value, int) else _numbers(value)
    if math.prod(sizes) > 8 * num_bytes:  # eight values in a byte are the most
        raise _NotOnnxError(
            f"the tensor {shorten(name)} has {shorten(math.prod(sizes))} values, more than the file"
        )


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: number, and value or content."""
    place = 0
    while place < len(message):
        tag, place = _number(message, place)
        kind = tag & 7
        if kind == 0:
            value, place = _number(message, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, place = _number(message, place)
        elif kind in {1, 5}:
            size = 8 if kind == 1 else 4
        else:
            raise _NotOnnxError(f"found a field of type {kind}")
        if place + size > len(message):
            raise _NotOnnxError("the file is cut short")
        yield tag >> 3, message[place : place + size]
        place += size


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise _NotOnnxError("the file is cut short")
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise _NotOnnxError("found a number of more than ten bytes")


def _numbers(message: memoryview) -> list[int]:
    values, place = [], 0
    while place < len(message):
        value, place = _number(message, place)
        values.append(value)
    return values


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _NotOnnxError("found a number in place of a message")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)[:100]).decode("utf-8", "replace")
