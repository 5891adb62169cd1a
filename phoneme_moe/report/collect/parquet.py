"""The routing of a split as one tidy Parquet file, for pandas, polars, DuckDB and R.

The file is written utterance by utterance, holding one row group in memory. docs/routing_table.md
explains how to read it.

Legend: T rows of an utterance (frames, or one token), E experts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from phoneme_moe.files.atomic import atomic_path
from phoneme_moe.report.collect.table import UtteranceRouting

#: Value of the layer column for the routing of a gate.
GATE = "gate"

#: Columns in order, with type and description, which docs/routing_table.md repeats.
COLUMNS = {
    "utterance": (pa.string(), "identifier of the utterance, unique in its layer"),
    "speaker": (pa.string(), "the speaker"),
    "layer": (pa.string(), f"the sparse layer; {GATE} for the gate over whole experts"),
    "frame": (pa.int32(), "number of the frame (or token) in its utterance, from 0"),
    "start": (pa.float64(), "start of the frame in seconds from the start of the utterance"),
    "phoneme": (pa.string(), "the reference phoneme of the frame; null where there is none"),
    "hypothesis": (pa.string(), "phoneme with the highest posterior; null for the CTC blank"),
    "correct": (pa.bool_(), "whether it is correct in the alignment; null where none is emitted"),
    "expert": (pa.string(), "name of the expert"),
    "weight": (pa.float32(), "share of the expert in the frame, 0 to 1; sums to 1 over a frame"),
    "selected": (pa.bool_(), "whether the expert was selected; an expert without a line was not"),
}

#: Version of the columns and of the metadata.
VERSION = "1"

#: Lines of a row group, which the writer and a streaming reader hold in memory.
LINES = 1 << 20


class RoutingParquet:
    """Writes the routing of utterances to one tidy Parquet file as a stream.

    There is one line per frame and expert of non-zero weight, so a dense gate has a line for every
    expert and a sparse layer for the selected ones. An utterance without frames has no line. The
    file appears only if the ``with`` block ends without an exception.

    Strings are dictionary-encoded in the file but read as plain strings, since the dictionaries of
    row groups differ and Arrow cannot group by them.
    """

    def __init__(
        self,
        path: Path,
        experts: Sequence[str],
        phonemes: Sequence[str],
        layer: str | None = None,
    ) -> None:
        """Prepares the writer; the file is created in the ``with`` block.

        Args:
            path: The output file; an existing one is replaced.
            experts: Names of the experts, in the order of the weights' columns.
            phonemes: Names of the phonemes, in the order of the phonemes' indices.
            layer: The sparse layer; None for the gate.
        """
        self.path = path
        self._phonemes = list(phonemes)
        self._layers: dict[str, list[str]] = {}
        self.change_layer(layer, experts)

    def change_layer(self, layer: str | None, experts: Sequence[str]) -> None:
        """Sets the layer of the utterances added from now on; layers may alternate."""
        self._layer = GATE if layer is None else layer
        self._layers[self._layer] = list(experts)
        # Indices of the experts in the dictionary, which lists the experts of all layers.
        names = {name: None for known in self._layers.values() for name in known}
        self._experts = list(names)
        place = {name: index for index, name in enumerate(names)}
        self._expert_place = np.array([place[name] for name in experts], dtype=np.int32)

    def __enter__(self) -> RoutingParquet:
        self._pending: list[_Lines] = []
        self._num_pending = 0
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._writer = stack.enter_context(
                pq.ParquetWriter(
                    temporary,
                    # Writing dictionaries is fast; without the stored Arrow schema they are read as
                    # plain strings.
                    pa.schema([(name, _written(kind)) for name, (kind, _) in COLUMNS.items()]),
                    store_schema=False,
                    compression="zstd",
                    # All columns but the weights repeat.
                    use_dictionary=[
                        name for name in COLUMNS if name not in ("weight", "selected", "correct")
                    ],
                )
            )
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _finish(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Completes the file unless the block raised an exception."""
        if kind is not None:
            return
        self._flush()
        self._writer.add_key_value_metadata(
            {
                "phoneme_moe.routing": VERSION,
                "columns": _json({name: text for name, (_, text) in COLUMNS.items()}),
                "layers": _json(self._layers),
                "phonemes": _json(self._phonemes),
            }
        )

    def add(self, utterance: UtteranceRouting) -> None:
        """Adds an utterance."""
        num_frames, num_experts = utterance.weights.shape
        # A long utterance is written in pieces to limit memory.
        step = max(1, LINES // num_experts)
        for first in range(0, num_frames, step):
            weights = utterance.weights[first : first + step]
            selected = np.flatnonzero(weights > 0)
            frame, expert = np.divmod(selected.astype(np.int32), np.int32(num_experts))
            of_frames = slice(first, first + step)
            hypothesis, right = utterance.hypothesis, utterance.right[of_frames][frame]
            if hypothesis is None:
                hypothesis = np.full(num_frames, -1)
            self._pending.append(
                _Lines(
                    utterance=utterance.utterance,
                    speaker=utterance.speaker,
                    layer=self._layer,
                    frame=frame + np.int32(first),
                    start=(frame + first) * np.float64(utterance.frame_seconds),
                    phoneme=utterance.phoneme[of_frames].astype(np.int32)[frame],
                    hypothesis=hypothesis[of_frames].astype(np.int32)[frame],
                    correct=np.where(utterance.judged[of_frames][frame], right, -1),
                    expert=self._expert_place[expert],
                    weight=weights.reshape(-1)[selected].astype(np.float32, copy=False),
                )
            )
            self._num_pending += len(selected)
            if self._num_pending >= LINES:
                self._flush()

    def _flush(self) -> None:
        """Writes the pending lines as one row group."""
        pending, self._pending, self._num_pending = self._pending, [], 0
        if not pending:
            return
        lengths = [len(lines.frame) for lines in pending]

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(lines, name) for lines in pending])

        def names(name: str) -> pa.DictionaryArray:
            of_lines = [getattr(lines, name) for lines in pending]
            place = {value: index for index, value in enumerate(dict.fromkeys(of_lines))}
            indices = np.array([place[value] for value in of_lines], dtype=np.int32)
            return pa.DictionaryArray.from_arrays(np.repeat(indices, lengths), list(place))

        correct = joined("correct")

        def phonemes(name: str) -> pa.DictionaryArray:
            index = joined(name)
            return pa.DictionaryArray.from_arrays(
                pa.array(index, mask=index < 0), pa.array(self._phonemes, pa.string())
            )

        columns = {
            "utterance": names("utterance"),
            "speaker": names("speaker"),
            "layer": names("layer"),
            "frame": joined("frame"),
            "start": joined("start"),
            "phoneme": phonemes("phoneme"),
            "hypothesis": phonemes("hypothesis"),
            "correct": pa.array(correct == 1, mask=correct < 0),
            "expert": pa.DictionaryArray.from_arrays(joined("expert"), self._experts),
            "weight": joined("weight"),
            "selected": np.ones(len(correct), dtype=np.bool_),
        }
        # One row group, even if slightly larger than LINES.
        self._writer.write_table(
            pa.table(columns, schema=self._writer.schema), row_group_size=len(correct)
        )


@dataclass(frozen=True, eq=False)
class _Lines:
    """Lines of one utterance, as columns of shape (lines,)."""

    utterance: str
    speaker: str
    layer: str
    frame: NDArray[np.int32]
    start: NDArray[np.float64]
    phoneme: NDArray[np.int32]
    hypothesis: NDArray[np.int32]
    correct: NDArray[np.int64]
    expert: NDArray[np.int32]
    weight: NDArray[np.float32]


def _written(kind: Any) -> Any:
    """The Arrow type with which a column is written."""
    return pa.dictionary(pa.int32(), kind) if pa.types.is_string(kind) else kind


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
