"""ONNX files from a stranger: refused in one line, in little memory, without other files.

``python -m tests.fuzz onnx`` tries many more.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from phoneme_moe.errors import InputError
from phoneme_moe.transcription.onnx_engine import OnnxEngine
from phoneme_moe.transcription.onnx_file import MAX_NODES, check_onnx_file
from phoneme_moe.transcription.transcribe import transcribe_file

FIXTURES = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0"
RECORDING = FIXTURES / "carol.wav"


def spoilt(folder: Path, change: Callable[[Any], object]) -> Path:
    model = onnx.load(FIXTURES / "gate.onnx")
    change(model)
    file = folder / "spoilt.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def external(location: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location

    return change


def added_to_the_posteriors(*nodes: Any, **tensors: Any) -> Callable[[Any], None]:
    """Nodes whose output ``more`` is added to the posteriors."""

    def change(model: Any) -> None:
        graph = model.graph
        for name, values in tensors.items():
            graph.initializer.append(numpy_helper.from_array(np.array(values), name))
        last = next(node for node in graph.node if "log_posteriors" in node.output)
        last.output[list(last.output).index("log_posteriors")] = "before"
        graph.node.extend([*nodes, helper.make_node("Add", ["before", "more"], ["log_posteriors"])])

    return change


def endless() -> Any:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [value("i", 7, []), value("go", 9, []), value("x", 1, [])],
        [value("on", 9, []), value("y", 1, [])],
    )
    return added_to_the_posteriors(
        helper.make_node("Loop", ["times", "yes", "zero"], ["more"], body=body),
        times=1 << 60,
        yes=True,
        zero=np.float32(0),
    )


def many_nodes(model: Any) -> None:
    names = ["features", *(f"n{number}" for number in range(MAX_NODES))]
    model.graph.node.extend(
        helper.make_node("Identity", [one], [other]) for one, other in pairwise(names)
    )


def set_attribute(part: Callable[[Any], Any], name: str, value: object) -> Callable[[Any], None]:
    return lambda model: setattr(part(model), name, value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (external("../../../../../../etc/passwd"), "is in another file"),
        (external("weights.bin"), "is in another file"),
        (external("/dev/zero"), "is in another file"),
        (endless(), "found the operator 'Loop' with a graph"),
        (many_nodes, "expected at most 100,000 nodes"),
        (lambda m: m.graph.initializer[0].dims.append(1 << 40), "values, more than the file"),
        (lambda m: m.functions.add(), "found functions or training"),
        (lambda m: m.graph.sparse_initializer.add(), "found a sparse tensor"),
        (set_attribute(lambda m: m.graph.node[0], "domain", "a.stranger"), "of 'a.stranger'"),
    ],
)
def test_what_an_exported_model_never_has_is_refused(
    tmp_path: Path, change: Callable[[Any], object], words: str
) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(1000))
    file = spoilt(tmp_path, change)
    with pytest.raises(InputError) as caught:
        OnnxEngine(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: not a valid ONNX model: ")
    assert words in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("size", [0, 1, 7, 1000, 100_000])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, size: int) -> None:
    file = tmp_path / "cut.onnx"
    file.write_bytes((FIXTURES / "gate.onnx").read_bytes()[:size])
    with pytest.raises(InputError, match=f"^{file}: not a valid ONNX model: "):
        check_onnx_file(file)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder.onnx", tmp_path / "pipe.onnx"
    folder.mkdir()
    os.mkfifo(pipe)
    for file, words in (
        (folder, "found a folder, expected a file of an ONNX model"),
        (pipe, "found a pipe or device"),
        (tmp_path / "missing.onnx", "cannot be read"),
    ):
        with pytest.raises(InputError, match=f"^{file}: {words}"):
            OnnxEngine(file)


@pytest.mark.parametrize("number", [1 << 29, 1 << 32, 1 << 50])
@pytest.mark.parametrize("constant", [True, False], ids=["when opened", "when run"])
def test_a_small_file_takes_no_gigabytes(
    tmp_path: Path, number: int, constant: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    size = "size" if constant else "many"
    nodes = [] if constant else [
        helper.make_node("Slice", ["frames", "zero", "one"], ["first"]),
        helper.make_node("Shape", ["features"], ["frames"]),
        helper.make_node("Mul", ["first", "size"], ["many"]),
    ]  # fmt: skip
    change = added_to_the_posteriors(
        *nodes,
        helper.make_node("ConstantOfShape", [size], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["more"], keepdims=0),
        size=[number],
        zero=[0],
        one=[1],
    )
    file = spoilt(tmp_path, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=f"^{file}: ") as caught:
        transcribe_file(OnnxEngine(file), RECORDING)
    assert len(str(caught.value).splitlines()) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([helper.make_node("Log", ["minus"], ["more"])], "log_posteriors: found values that are"),
        (
            [helper.make_node("Identity", ["rows"], ["more"])],
            "log_posteriors: found float32",
        ),
    ],
)
def test_posteriors_of_another_shape_or_no_numbers_are_refused(
    tmp_path: Path, nodes: list[Any], words: str
) -> None:
    rows = np.zeros((3, 1, 1, 1), np.float32)
    file = spoilt(tmp_path, added_to_the_posteriors(*nodes, minus=np.float32(-1), rows=rows))
    with pytest.raises(InputError, match=f"^{file}: {words}"):
        transcribe_file(OnnxEngine(file), RECORDING)


@pytest.mark.parametrize("name", ["log_posteriors", "weights"])
def test_an_output_without_axes_is_refused(tmp_path: Path, name: str) -> None:
    def change(model: Any) -> None:
        (output,) = (o for o in model.graph.output if o.name == name)
        del output.type.tensor_type.shape.dim[:]
        last = next(node for node in model.graph.node if name in node.output)
        last.output[list(last.output).index(name)] = "before"
        model.graph.node.append(helper.make_node("ReduceSum", ["before"], [name], keepdims=0))

    with pytest.raises(InputError, match=f"{name}: found a single number"):
        OnnxEngine(spoilt(tmp_path, change))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("card", "[" * 10_000, "card: not valid JSON: recursion limit exceeded"),
        ("card", '{"version": ' + "9" * 5_000 + "}", "card: not valid JSON: number out of range"),
        ("card", "", "card: not valid JSON"),
        ("format", "other", "not exported by phoneme-moe"),
    ],
)
def test_metadata_are_data(tmp_path: Path, key: str, value: str, words: str) -> None:
    def change(model: Any) -> None:
        (entry,) = (entry for entry in model.metadata_props if entry.key == key)
        entry.value = value

    file = spoilt(tmp_path, change)
    with pytest.raises(InputError, match=f"^{file}: {words}"):
        OnnxEngine(file)


def test_an_n_gram_of_other_phonemes_is_refused(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        (entry,) = (entry for entry in model.metadata_props if entry.key == "card")
        card = json.loads(entry.value)
        card["phonemes"] = card["phonemes"][::-1]
        entry.value = json.dumps(card)

    with pytest.raises(InputError, match=r"language_model.symbols: found .* expected the phonemes"):
        OnnxEngine(spoilt(tmp_path, change))
