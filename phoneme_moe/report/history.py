"""Load, its variation, dead experts and router entropy over the training epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import shorten_name
from phoneme_moe.files.metrics_file import Row, read_rows
from phoneme_moe.recipe.router import DEAD_PART
from phoneme_moe.report.document_parts import LayerHistory, TrainingHistory

MAX_NATS = 100.0
"""More than the entropy of any number of experts."""

ROUNDING = 1e-4
"""Rounding errors of a load, which is a mean of many steps."""


def training_history(path: Path) -> TrainingHistory | None:
    """Reads the routing of a run over the epochs from its ``metrics.csv``.

    The epochs of all stages are concatenated. A gate has only its load; sparse layers also have
    entropy and dead experts.

    Args:
        path: Path of the file.

    Returns:
        The history; None if there is no file or no load of at least two experts in it.

    Raises:
        InputError: The file is not a valid metrics file.
    """
    rows = read_rows(path)
    try:
        layers = [
            series
            for name in _layers(list(dict.fromkeys(column for row in rows for column in row)))
            if (series := _layer(name, rows)) is not None
        ]
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    epochs = [f"{row['stage']} {row['epoch'] + 1}" for row in rows]
    return TrainingHistory(epochs=epochs, layers=layers) if layers else None


def _layers(columns: list[str]) -> list[str]:
    """Names of the routers with loads; columns without a layer belong to the gate."""
    names = [
        column.rsplit("/load/", 1)[0] if "/load/" in column else "gate"
        for column in columns
        if column.startswith("load/") or "/load/" in column
    ]
    return list(dict.fromkeys(names))


def _layer(name: str, rows: Sequence[Row]) -> LayerHistory | None:
    start = "load/" if name == "gate" else f"{name}/load/"
    columns = [
        column
        for column in dict.fromkeys(column for row in rows for column in row)
        if column.startswith(start)
    ]
    if len(columns) < 2:
        return None
    load = np.array([[_number(row, column, 1) for column in columns] for row in rows])
    known = ~np.isnan(load).any(axis=1)
    mean = np.where(known, load.mean(axis=1), np.nan)
    variation = load.std(axis=1) / mean
    dead = (load < DEAD_PART / len(columns)).sum(axis=1)
    nats = [_number(row, f"{name}/entropy", MAX_NATS) for row in rows]
    return LayerHistory(
        layer=name,
        experts=[_expert(column.removeprefix(start), name) for column in columns],
        load=[row.tolist() if real else None for row, real in zip(load, known, strict=True)],
        variation=[_none_if_nan(value) for value in variation],
        dead=[int(count) if real else None for count, real in zip(dead, known, strict=True)],
        entropy=None if np.isnan(nats).all() else [_none_if_nan(value) for value in np.exp(nats)],
    )


def _expert(name: str, layer: str) -> str:
    """Name of an expert; a sparse layer's columns have its number."""
    return name if layer == "gate" else f"expert_{name}"


def _number(row: Row, column: str, greatest: float) -> float:
    """A cell, between 0 and the greatest; nan if there is none.

    Raises:
        ValueError: It is another number.
    """
    value = row.get(column, np.nan)
    if not np.isnan(value) and not 0 <= value <= greatest * (1 + ROUNDING):
        raise ValueError(f"{shorten_name(column)}: found {value}, expected 0 to {greatest}")
    return float(value)


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
