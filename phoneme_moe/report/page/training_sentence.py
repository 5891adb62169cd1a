"""The sentence on how routing changed during training, over all epochs.

Legend: L layers, N epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.recipe.router import numbered_experts
from phoneme_moe.report.number_format import number, percent, plural, told_apart

#: A load that varies by less is steady.
_STEADY = 0.02


def training_sentence(
    epochs: Sequence[object], layers: Sequence[Mapping[str, Any]], unit: str
) -> str:
    """Effective number of experts, loads and dead experts over the epochs that recorded them.

    Args:
        epochs: Labels of the N epochs.
        layers: Entries of the document's ``training.layers``, L at least 1; None for an epoch
            that did not train the layer's router.
        unit: Noun for a row: frame or token.
    """
    start = f"Over {plural(len(epochs), 'epoch')}"
    known = sum(
        any((layer.get("load") or (None,) * len(epochs))[i] is not None for layer in layers)
        for i in range(len(epochs))
    )
    if known and known < len(epochs):
        start += f", of which {known:,} recorded routing,"
    clauses = [_number_of_experts(layers, unit), _greatest_change(layers)]
    clauses = [clause for clause in clauses if clause]
    if not clauses:
        return f"{start} the run recorded no load."
    return f"{start} {'; '.join([*clauses, _dead(layers)])}."


def _number_of_experts(layers: Sequence[Mapping[str, Any]], unit: str) -> str:
    """Clause on the effective number of experts: both ends, and what lies beyond them."""
    series = [[v for v in layer.get("entropy") or () if v is not None] for layer in layers]
    series = [values for values in series if values]
    if not series:
        return ""
    shortest = min(map(len, series))
    means = np.mean([values[-shortest:] for values in series], axis=0)
    first, last, low, high = (float(v) for v in (means[0], means[-1], means.min(), means.max()))
    before, after = told_apart(first, last, 1, number)
    verb = "stayed at" if before == after else "fell from" if last < first else "rose from"
    ends = before if before == after else f"{before} to {after}"
    beyond = [
        f"{name} {number(value, 1)}"
        for name, value, near in (
            ("lowest", low, min(first, last)),
            ("highest", high, max(first, last)),
        )
        if number(value, 1) != number(near, 1)
    ]
    between = f" ({', '.join(beyond)})" if beyond else ""
    return f"the effective number of experts within a {unit} {verb} {ends}{between}"


def _greatest_change(layers: Sequence[Mapping[str, Any]]) -> str:
    """Clause on the expert whose load changed most between any two epochs."""
    widest, clause = -1.0, ""
    for layer in layers:
        rows = [row for row in layer.get("load") or () if row is not None]
        if not rows:
            continue
        loads = np.asarray(rows, dtype=float)
        low, high = loads.min(axis=0), loads.max(axis=0)
        most = int((high - low).argmax())
        width = float(high[most] - low[most])
        if width <= widest:
            continue
        widest = width
        experts = layer.get("experts") or numbered_experts(len(low))
        where = f" in {layer['layer']}" if len(layers) > 1 else ""
        clause = (
            f"the load of expert {experts[most]}{where} varied most, between "
            f"{percent(low[most], 1)} and {percent(high[most], 1)} "
            f"({percent(loads[-1, most], 1)} at the end)"
        )
    if 0 <= widest < _STEADY:
        return f"no expert's load ever varied by more than {100 * _STEADY:.0f} points"
    return clause


def _dead(layers: Sequence[Mapping[str, Any]]) -> str:
    """Clause on dead experts at the end, and on the most that there were before."""
    counts = [[v for v in layer.get("dead") or () if v is not None] for layer in layers]
    counts = [values for values in counts if values]
    dead = sum(values[-1] for values in counts)
    end = plural(dead, "expert") if dead else "no expert"
    text = f"{end} {'was' if dead <= 1 else 'were'} dead at the end"
    shortest = min(map(len, counts), default=0)
    totals = [sum(values[i - shortest] for values in counts) for i in range(shortest)]
    most = max(totals, default=0)
    if most > dead:
        epochs = plural(sum(total > dead for total in totals), "epoch")
        text += f", but before, up to {most} {'was' if most == 1 else 'were'} (in {epochs})"
    return text
