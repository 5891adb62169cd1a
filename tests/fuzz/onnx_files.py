"""Mutated ONNX files, with which a recording is transcribed or aligned."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.fuzz.documents import change_value, dumps
from tests.fuzz.harness import Command
from tests.fuzz.mutations import mutate

OLD_RUNS = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0"
RECORDING = OLD_RUNS / "carol.wav"
_SIZES = (0, 1, -1, 7, 1 << 16, 1 << 31, 1 << 34, 1 << 40, 1 << 62)
_OPERATORS = ("Add", "MatMul", "Tile", "Expand", "Range", "Pad", "Reshape", "Gather", "Loop", "If")


class Onnx:
    """ONNX files."""

    name = "onnx"

    @cached_property
    def _content(self) -> bytes:
        return (OLD_RUNS / "gate.onnx").read_bytes()

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """A file, mutated in its bytes, its graph or its metadata."""
        chance = random.Random(number)
        content = self._content
        if chance.random() < 0.4:
            content = mutate(content, chance)
        else:
            content = self._change(content, chance)
        (folder / "mutated.onnx").write_bytes(content)
        commands = (
            ["transcribe", "mutated.onnx", str(RECORDING)],
            ["transcribe", "mutated.onnx", str(RECORDING), "--format", "json", "--beam", "4"],
            ["align", "mutated.onnx", str(RECORDING), "--phonemes", "a s i m a"],
        )
        return [Command(chance.choice(commands))]

    def _change(self, content: bytes, chance: random.Random) -> bytes:
        import onnx

        model = onnx.load_from_string(content)
        for _ in range(chance.choice((1, 1, 2, 4))):
            chance.choice(_CHANGES)(model, chance)
        return bytes(model.SerializeToString())


def _metadata(model: Any, chance: random.Random) -> None:
    entry = chance.choice(model.metadata_props)
    if entry.key == "card":
        try:
            card = json.loads(entry.value)
        except ValueError:
            return
        entry.value = dumps(change_value(card, chance))
    else:
        entry.value = "other"


def _external(model: Any, chance: random.Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in (
        ("location", "../../../../etc/passwd"),
        ("length", str(chance.choice(_SIZES))),
    ):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _shape(model: Any, chance: random.Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    if tensor.dims and chance.random() < 0.5:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(_SIZES)
    else:
        tensor.dims.append(chance.choice(_SIZES))


def _type(model: Any, chance: random.Random) -> None:
    chance.choice(model.graph.initializer).data_type = chance.randrange(25)


def _values(model: Any, chance: random.Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    word = chance.choice((b"\xff\xff\xff\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f"))
    tensor.raw_data = word * (len(tensor.raw_data) // 4)


def _constant(model: Any, chance: random.Random) -> None:
    """Another number in a shape that is computed."""
    nodes = [node for node in model.graph.node if node.op_type == "Constant"]
    tensor = chance.choice(nodes).attribute[0].t
    if len(tensor.raw_data) == 8:
        tensor.raw_data = (chance.choice(_SIZES) % (1 << 64)).to_bytes(8, "little")


def _operator(model: Any, chance: random.Random) -> None:
    node = chance.choice(model.graph.node)
    node.op_type = chance.choice((*_OPERATORS, chance.choice(model.graph.node).op_type))


def _wiring(model: Any, chance: random.Random) -> None:
    """Another input of a node: also loops."""
    node, other = chance.choice(model.graph.node), chance.choice(model.graph.node)
    if node.input and other.output:
        node.input[chance.randrange(len(node.input))] = chance.choice(other.output)


def _removal(model: Any, chance: random.Random) -> None:
    part = chance.choice(
        (model.graph.node, model.graph.initializer, model.graph.input, model.graph.output)
    )
    del part[chance.randrange(len(part))]


def _interface(model: Any, chance: random.Random) -> None:
    value = chance.choice((*model.graph.input, *model.graph.output))
    dims = value.type.tensor_type.shape.dim
    if dims and chance.random() < 0.7:
        dims[chance.randrange(len(dims))].dim_value = chance.choice(_SIZES)
    else:
        value.type.tensor_type.elem_type = chance.randrange(17)
        del dims[:]


def _large(model: Any, chance: random.Random) -> None:
    """A node whose output is large, added to the posteriors."""
    from onnx import TensorProto, helper

    size = helper.make_tensor("large_size", TensorProto.INT64, [1], [chance.choice(_SIZES)])
    model.graph.initializer.append(size)
    last = next(node for node in model.graph.node if "log_posteriors" in node.output)
    last.output[list(last.output).index("log_posteriors")] = "before"
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["large_size"], ["large"]),
            helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
            helper.make_node("Add", ["before", "sum"], ["log_posteriors"]),
        ]
    )


def _loop(model: Any, chance: random.Random) -> None:
    from onnx import helper

    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["looped"], body=body))


def _deep(model: Any, chance: random.Random) -> None:
    """A chain of many nodes."""
    from onnx import helper

    names = [f"deep_{number}" for number in range(chance.choice((100, 20_000)))]
    model.graph.node.extend(
        helper.make_node("Identity", [one], [other])
        for one, other in zip(["features", *names], names, strict=False)
    )


def _domain(model: Any, chance: random.Random) -> None:
    chance.choice(model.graph.node).domain = chance.choice(("com.microsoft", "a.stranger", "x\ny"))


def _version(model: Any, chance: random.Random) -> None:
    model.opset_import[0].version = chance.choice((0, 1, 7, 24, 1000))
    model.ir_version = chance.choice((1, 8, 1000))


_CHANGES: tuple[Callable[[Any, random.Random], None], ...] = (
    _metadata,
    _metadata,
    _metadata,
    _external,
    _shape,
    _type,
    _values,
    _constant,
    _operator,
    _wiring,
    _removal,
    _interface,
    _large,
    _loop,
    _deep,
    _domain,
    _version,
)
