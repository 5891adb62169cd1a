"""Writes networks as ONNX files."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phoneme_moe.errors import InputError
from phoneme_moe.system.extras import install_command

OPSET = 18

MAX_BYTES = 2_000_000_000
"""Most bytes of weights: a protocol buffer holds 2 GB."""


PRODUCTS = ("MatMul", "Gemm")
"""Operators whose weights are quantised."""


def import_onnx() -> Any:
    """Imports ``onnx``.

    Raises:
        InputError: The extra ``onnx`` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError(f"export needs onnx: {install_command('onnx')}") from error
    return onnx


def write_onnx(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, dict[int, str]],
    input_axes: Mapping[str, dict[int, str]],
    path: Path,
    source: str,
) -> None:
    """Writes a network as an ONNX file.

    Args:
        network: The network; its arguments are the inputs in their order.
        inputs: Example inputs by name, to trace the network with.
        outputs: Names of the outputs, each with the names of its axes of any size.
        input_axes: Names of the axes of any size of each input.
        path: The file.
        source: What is exported, for error messages.

    Raises:
        InputError: The network is too large, or ONNX cannot express a part of it.
    """
    size = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    if size > MAX_BYTES:
        raise InputError(
            f"{source}: found {size / 1e9:.1f} GB of weights, expected at most "
            f"{MAX_BYTES / 1e9:.0f} GB, which an ONNX file holds"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network.eval(),
                tuple(inputs.values()),
                str(path),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={**input_axes, **outputs},
                opset_version=OPSET,
                dynamo=False,
            )
        except (torch.onnx.OnnxExporterError, torch.onnx.errors.SymbolicValueError) as error:
            problem = str(error).splitlines()[0]
            raise InputError(f"{source}: ONNX cannot express the model: {problem}") from error


def finish_onnx(path: Path, int8: bool, metadata: Mapping[str, str]) -> None:
    """Adds the metadata of a file, and with ``int8`` quantises its weights.

    Args:
        path: The file.
        int8: Whether to quantise the weights of matrix products to 8 bits (dynamic quantisation).
        metadata: Entries of ``metadata_props``.
    """
    onnx = import_onnx()
    if int8:
        _quantize(path)
    model = onnx.load(path)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)


def _quantize(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()  # onnxruntime recommends preprocessing, which is not needed
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        # In a folder of its own, since onnxruntime writes another file beside the model, which it
        # leaves there when it is interrupted.
        with tempfile.TemporaryDirectory(prefix="phoneme-moe-") as folder:
            model = Path(folder, "model.onnx")
            shutil.copyfile(path, model)
            quantize_dynamic(
                model,
                model,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(PRODUCTS),
                per_channel=_weights_are_matrices(model),
            )
            shutil.copyfile(model, path)
    finally:
        root.setLevel(level)


def _weights_are_matrices(path: Path) -> bool:
    """Whether all weights of products can have a scale for each column, which is more precise.

    onnxruntime does not run products of several matrices at once with such scales.
    """
    graph = import_onnx().load(path).graph
    factors = {name for node in graph.node if node.op_type in PRODUCTS for name in node.input}
    return all(len(tensor.dims) <= 2 for tensor in graph.initializer if tensor.name in factors)
