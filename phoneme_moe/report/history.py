"""Load, its variation, dead experts and router entropy over the training epochs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from phoneme_moe.csv_text import original_cell
from phoneme_moe.errors import InputError
from phoneme_moe.recipe.router import DEAD_PART
from phoneme_moe.report.document import LayerHistory, TrainingHistory


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
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return None
    try:
        epochs = [f"{original_cell(row['stage'])} {int(row['epoch']) + 1}" for row in rows]
        layers = [
            series for name in _layers(list(rows[0])) if (series := _layer(name, rows)) is not None
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the metrics of a training run: {error}") from error
    return TrainingHistory(epochs=epochs, layers=layers) if layers else None


def _layers(columns: list[str]) -> list[str]:
    """Names of the routers with loads; columns without a layer belong to the gate."""
    names = [
        column.rsplit("/load/", 1)[0] if "/load/" in column else "gate"
        for column in columns
        if column.startswith("load/") or "/load/" in column
    ]
    return list(dict.fromkeys(names))


def _layer(name: str, rows: list[dict[str, str]]) -> LayerHistory | None:
    start = "load/" if name == "gate" else f"{name}/load/"
    columns = [column for column in rows[0] if column.startswith(start)]
    if len(columns) < 2:
        return None
    load = np.array([[_number(row[column]) for column in columns] for row in rows])
    known = ~np.isnan(load).any(axis=1)
    mean = np.where(known, load.mean(axis=1), np.nan)
    variation = load.std(axis=1) / mean
    dead = (load < DEAD_PART / len(columns)).sum(axis=1)
    nats = [_number(row.get(f"{name}/entropy")) for row in rows]
    return LayerHistory(
        layer=name,
        experts=[column.removeprefix(start) for column in columns],
        load=[row.tolist() if real else None for row, real in zip(load, known, strict=True)],
        variation=[_none_if_nan(value) for value in variation],
        dead=[int(count) if real else None for count, real in zip(dead, known, strict=True)],
        entropy=None if np.isnan(nats).all() else [_none_if_nan(value) for value in np.exp(nats)],
    )


def _number(text: str | None) -> float:
    return float(text) if text else float("nan")


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
