"""What stands in a routing.parquet, read back one utterance at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from phoneme_moe.errors import InputError
from phoneme_moe.report.collect.parquet import COLUMNS, VERSION

_EXPECTED = "expected a routing.parquet that this package wrote"


@dataclass(frozen=True, eq=False)
class StoredRouting:
    """What a file holds of one utterance in one layer.

    Attributes:
        layer: Which layer routes; ``gate`` for the gate.
        utterance: Its identifier.
        speaker: Who speaks.
        experts: Names of the layer's experts.
        start: When each row begins, seconds, shape (rows,).
        phoneme: What is spoken in each row; None where nothing is known to be, length rows.
        weights: Share of each expert, shape (rows, experts); 0 for an expert without a line.
    """

    layer: str
    utterance: str
    speaker: str
    experts: tuple[str, ...]
    start: NDArray[np.float64]
    phoneme: tuple[str | None, ...]
    weights: NDArray[np.float32]


def read_routing(path: Path) -> Iterator[StoredRouting]:
    """Reads back what ``parquet.RoutingParquet`` wrote, one utterance after the other.

    Raises:
        InputError: There is no such file, it is damaged, or it is another Parquet file.
    """
    # Until the next row group is read, the last utterance of one may go on in it.
    rest: pa.Table | None = None
    try:
        with pq.ParquetFile(path) as file:
            layers = _layers_of(file, path)
            for number in range(file.num_row_groups):
                group = file.read_row_group(number)
                table = group if rest is None else pa.concat_tables([rest, group])
                starts = _first_lines(table)
                for first, end in pairwise(starts):
                    yield _stored(table.slice(first, end - first), layers, path)
                rest = table.slice(starts[-1])
    except (pa.ArrowException, OSError) as error:
        found = str(error).partition("\n")[0]
        raise InputError(f"{path}: found no Parquet file ({found}), {_EXPECTED}") from error
    if rest is not None:
        yield _stored(rest, layers, path)


def _layers_of(file: pq.ParquetFile, path: Path) -> dict[str, list[str]]:
    """Names of the experts of each layer; checks that the file is one of ours."""
    found = {field.name: str(field.type) for field in file.schema_arrow}
    wanted = {name: str(kind) for name, (kind, _) in COLUMNS.items()}
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            raise InputError(
                f"{path}: found {_column(name, found)}, expected {_column(name, wanted)}; "
                f"{_EXPECTED}"
            )
    beside = file.metadata.metadata or {}
    version = beside.get(b"phoneme_moe.routing", b"").decode()
    if version != VERSION:
        raise InputError(
            f"{path}: found version {version or 'none'} in the file's metadata, "
            f"expected {VERSION}; {_EXPECTED}"
        )
    layers: dict[str, list[str]] = json.loads(beside[b"layers"])
    return layers


def _column(name: str, kinds: dict[str, str]) -> str:
    return f"column {name!r} of {kinds[name]}" if name in kinds else f"no column {name!r}"


def _first_lines(table: pa.Table) -> list[int]:
    """Where each utterance begins."""
    begins = np.zeros(len(table), dtype=np.bool_)
    for name in ("utterance", "layer"):
        column = table[name]
        begins[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy()
    begins[:1] = True
    return np.flatnonzero(begins).tolist()


def _stored(table: pa.Table, layers: dict[str, list[str]], path: Path) -> StoredRouting:
    """The lines of one utterance as arrays over its rows."""
    utterance, speaker, layer = (
        table[name][0].as_py() for name in ("utterance", "speaker", "layer")
    )
    experts = tuple(layers.get(layer, ()))
    expert = pc.index_in(table["expert"], pa.array(experts, pa.string()))
    if expert.null_count:
        raise InputError(
            f"{path}: found an expert of layer {layer!r} that the file's metadata do not name, "
            f"{_EXPECTED}"
        )
    frame = table["frame"].to_numpy()
    num_rows = int(frame[-1]) + 1
    start = np.zeros(num_rows)
    start[frame] = table["start"].to_numpy()
    phoneme = np.full(num_rows, None)
    phoneme[frame] = table["phoneme"].to_numpy()
    weights = np.zeros((num_rows, len(experts)), dtype=np.float32)
    weights[frame, expert.to_numpy()] = table["weight"].to_numpy()
    return StoredRouting(
        layer, utterance, speaker, experts, start, tuple(phoneme.tolist()), weights
    )
