"""How routing came about: load, spread and dead experts over the epochs of training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe.errors import InputError
from phoneme_moe.recipe.router import DEAD_PART


def training_history(path: Path) -> dict[str, Any] | None:
    """What ``metrics.csv`` of a run says of routing, epoch by epoch.

    Epochs of all stages follow each other. A gate has its load alone; sparse layers have entropy
    and dead experts too.

    Args:
        path: The file.

    Returns:
        ``epochs`` (stage and number) and ``layers`` as in docs/schemas/routing.schema.json; None
        where there is no file, or nothing of two experts or more in it.

    Raises:
        InputError: The file is not what training writes.
    """
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return None
    try:
        epochs = [f"{row['stage']} {int(row['epoch']) + 1}" for row in rows]
        layers = [
            series for name in _layers(list(rows[0])) if (series := _layer(name, rows)) is not None
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the metrics of a training: {error}") from error
    return {"epochs": epochs, "layers": layers} if layers else None


def _layers(columns: list[str]) -> list[str]:
    """Names of what has loads; "gate" stands for columns without a layer."""
    found = [
        column.rsplit("/load/", 1)[0] if "/load/" in column else "gate"
        for column in columns
        if column.startswith("load/") or "/load/" in column
    ]
    return list(dict.fromkeys(found))


def _layer(name: str, rows: list[dict[str, str]]) -> dict[str, Any] | None:
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
    return {
        "layer": name,
        "experts": [column.removeprefix(start) for column in columns],
        "load": [own.tolist() if real else None for own, real in zip(load, known, strict=True)],
        "variation": [_plain(value) for value in variation],
        "dead": [int(count) if real else None for count, real in zip(dead, known, strict=True)],
        "entropy": [_plain(value) for value in np.exp(nats)] if not np.isnan(nats).all() else None,
    }


def _number(text: str | None) -> float:
    return float(text) if text else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
