"""Opens ONNX files from anywhere with onnxruntime, and runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import shorten_name
from phoneme_moe.files.writing import path_text
from phoneme_moe.system.cores import usable_cores
from phoneme_moe.system.extras import install_command
from phoneme_moe.transcription.onnx_file import check_onnx_file

MAX_BYTES, MAX_BYTES_PER_BYTE = 700_000_000, 32
"""Most memory of a session: a constant, and for each byte of the file."""


class OnnxSession:
    """An ONNX file that is ready to run.

    Attributes:
        path: The file.
        metadata: Its ``metadata_props``.
        inputs: Shape of each input, of numbers and names of axes.
        outputs: Shape of each output.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Opens the file.

        Args:
            path: The file.
            threads: Number of threads; by default one per usable core.

        Raises:
            InputError: onnxruntime is not installed, or the file is not a plain graph of standard
                operators.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f"{path}: needs onnxruntime: {install_command('onnx')}") from error
        check_onnx_file(path)
        onnxruntime.disable_telemetry_events()  # imported before this package, it may be on
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised as well
        _limit_memory(onnxruntime, path.stat().st_size)
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Threads that spin while waiting would occupy the cores that read files.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Left alone, it takes the cores of the machine, and complains about those not granted.
        options.intra_op_num_threads = threads or usable_cores().number
        self.path = path
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime raises many kinds
            problem = _first_line(error)
            raise InputError(f"{path}: not a valid ONNX model: {problem}") from error
        for node in (*self._session.get_inputs(), *self._session.get_outputs()):
            if not node.shape:
                raise InputError(
                    f"{path}: {shorten_name(node.name)}: found a single number, expected axes"
                )
        self.inputs = {node.name: node.shape for node in self._session.get_inputs()}
        self.outputs = {node.name: node.shape for node in self._session.get_outputs()}

    def require(self, inputs: set[str], outputs: set[str]) -> None:
        """Checks that the file has these inputs, and these outputs among others.

        Raises:
            InputError: It has not.
        """
        if set(self.inputs) != inputs or not outputs <= set(self.outputs):
            raise InputError(
                f"{self.path}: found inputs {_listed(self.inputs)} and outputs "
                f"{_listed(self.outputs)}; expected inputs {_listed(inputs)} and outputs "
                f"{_listed(outputs)}"
            )

    def require_columns(self, name: str, expected: int) -> None:
        """Checks the size of the last axis of an input or output, if the file says it.

        Raises:
            InputError: It is another one.
        """
        columns = (self.inputs | self.outputs)[name][-1]
        if isinstance(columns, int) and columns != expected:
            raise InputError(
                f"{self.path}: {name}: found {columns} columns, expected {expected} as in card"
            )

    def run(
        self, outputs: Sequence[str], inputs: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Computes outputs.

        Raises:
            InputError: The file is damaged.
        """
        try:
            computed: list[NDArray[np.float32]] = self._session.run(list(outputs), dict(inputs))
        except Exception as error:  # from a tampered file; onnxruntime raises many kinds
            problem = _first_line(error)
            raise InputError(f"{path_text(self.path)}: inference failed: {problem}") from error
        return computed


def _limit_memory(onnxruntime: Any, file_size: int) -> None:
    """Limits the memory of sessions that are opened next.

    Four minutes of sound, which a batch has at most, need up to 350 MB in the shipped recipes.

    Args:
        onnxruntime: The module.
        file_size: Bytes of the model.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    limits = dict.fromkeys(
        ("arena_extend_strategy", "initial_chunk_size_bytes", "max_dead_bytes_per_chunk"), -1
    )
    limits["max_mem"] = MAX_BYTES + MAX_BYTES_PER_BYTE * file_size
    arena = onnxruntime.OrtArenaCfg(limits)
    onnxruntime.create_and_register_allocator(memory, arena)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return "".join(c for c in lines[0][:300] if c.isprintable()) if lines else type(error).__name__


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(shorten_name, sorted(names)))
