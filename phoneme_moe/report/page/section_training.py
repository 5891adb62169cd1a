"""The section on how routing came about over epochs, and how it differs from layer to layer.

Legend: L layers, E experts of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.report.number_format import names
from phoneme_moe.report.page.curves import curves, stack
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.heat_plot import draw_heat_map
from phoneme_moe.report.page.palette import expert_colours
from phoneme_moe.report.page.parts import (
    Block,
    Cell,
    Figure,
    Section,
    Table,
    number,
    per_cent,
    plural,
    shade,
)

Document = Mapping[str, Any]
#: Key of a series, label of its axis, title of its figure, decimals.
_SERIES = (
    ("entropy", "experts", "Experts in effect inside a frame", 2),
    ("variation", "spread", "Unevenness of the load", 2),
    ("dead", "experts", "Dead experts", 0),
)


def training_section(document: Document) -> Section | None:
    """Load, entropy and saturation over epochs; agreement and dead experts of layers."""
    blocks: list[Block] = []
    if (document.get("training") or {}).get("layers"):
        blocks += _training(document["training"])
    if document.get("layers"):
        blocks += _layers(document["layers"])
    title = "Across training and layers"
    return Section("training", title, blocks) if blocks else None


def _training(training: Mapping[str, Any]) -> list[Block]:
    epochs, layers = training["epochs"], training["layers"]
    colours = expert_colours(len(layers))
    figures = []
    for key, label, title, _ in _SERIES:
        known = [
            (i, layer)
            for i, layer in enumerate(layers)
            if any(value is not None for value in layer.get(key) or ())
        ]
        if known:
            figures.append(
                Figure(
                    f"training-{key}",
                    f"{title} over the epochs",
                    f"{title}.",
                    curves(
                        [layer["layer"] for _, layer in known],
                        epochs,
                        [layer[key] for _, layer in known],
                        label,
                        [colours[i] for i, _ in known],
                        1.0,
                    ),
                    230,
                    legend=[(colours[i], layer["layer"]) for i, layer in known]
                    if len(layers) > 1
                    else (),
                )
            )
    tables = [_training_table(epochs, layers)]
    blocks = [Block("", _trained(epochs, layers), figures, tables)]
    loads = [
        (layer["layer"], _load(epochs, layer, i))
        for i, layer in enumerate(layers)
        if any(row is not None for row in layer.get("load") or ())
    ]
    if len(loads) == 1:
        blocks.append(loads[0][1])
    elif loads:
        sentence = "How the layers came to share the work; choose a layer."
        blocks.append(
            Block(
                "Load over the epochs",
                sentence,
                choices=loads,
                id="load-layer",
                extra={"choose": "Layer"},
            )
        )
    return blocks


def _trained(epochs: Sequence[object], layers: Sequence[Mapping[str, Any]]) -> str:
    """How far the gate came, in words."""
    first, last = (
        [
            series[end]
            for layer in layers
            if (series := [v for v in layer.get("entropy") or () if v is not None])
        ]
        for end in (0, -1)
    )
    told = f"Over {plural(len(epochs), 'epoch')} "
    if first:
        start, end = float(np.mean(first)), float(np.mean(last))
        verb = "fell" if end < start else "rose"
        told += f"the experts in effect inside a frame {verb} from {start:.1f} to {end:.1f}"
    else:
        shares = [
            row
            for layer in layers
            for row in [[r for r in layer.get("load") or () if r is not None]]
            if row
        ]
        if not shares:
            return told + "the run noted nothing of its load."
        moved = max(float(np.abs(np.subtract(row[-1], row[0])).max()) for row in shares)
        told += f"no expert's load moved by more than {100 * moved:.0f} points"
    total = sum(int((layer.get("dead") or [0])[-1] or 0) for layer in layers)
    return told + (
        f"; {plural(total, 'expert')} ended dead." if total else "; no expert ended dead."
    )


def _load(epochs: Sequence[object], layer: Mapping[str, Any], index: int) -> Block:
    rows = layer["load"]
    width = max(len(row) for row in rows if row is not None)
    share = np.array([[np.nan] * width if row is None else row for row in rows], dtype=float)
    experts = layer.get("experts") or [f"{i + 1}" for i in range(width)]
    colours = expert_colours(width)
    last = share[~np.isnan(share).any(axis=1)][-1]
    top = int(last.argmax())
    sentence = (
        f"At the end the busiest of {plural(width, 'expert')} is {experts[top]} with "
        f"{100 * last[top]:.0f} % of the load; an equal share would be {100 / width:.0f} %."
    )
    figure = Figure(
        f"load-{index}",
        f"Load of every expert over the epochs, {layer['layer']}",
        "Load of the experts, on top of each other.",
        stack(experts, epochs, share, colours),
        230,
        legend=list(zip(colours, experts, strict=True)) if width <= 16 else (),
    )
    table = Table(
        f"Load in %, {layer['layer']}",
        ("epoch", *experts),
        [
            (str(epoch), [Cell("–") if np.isnan(v) else Cell(per_cent(v)) for v in row])
            for epoch, row in zip(epochs, share, strict=True)
        ],
    )
    return Block(f"Load of {layer['layer']} over the epochs", sentence, [figure], [table])


def _training_table(epochs: Sequence[object], layers: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for layer in layers:
        for i, epoch in enumerate(epochs):
            name = str(epoch) if len(layers) == 1 else f"{layer['layer']}, {epoch}"
            rows.append(
                (
                    name,
                    [Cell(number((layer.get(key) or {i: None})[i], d)) for key, _, _, d in _SERIES],
                )
            )
    head = ("epoch", "experts in effect", "unevenness of the load", "dead experts")
    return Table("Over the epochs", head, rows)


def _layers(layers: Mapping[str, Any]) -> list[Block]:
    layer_names, load = layers["names"], layers["load"]
    width = max(len(row) for row in load)
    dense = np.array([[*row, *([np.nan] * (width - len(row)))] for row in load], dtype=float)
    effective = np.asarray(layers["effective"], dtype=float)
    shared = [name for name, dead in zip(layer_names, layers["dead"], strict=True) if dead]
    least = int(effective.argmin())
    sentence = (
        f"{layer_names[least]} leans on fewest experts ({effective[least]:.1f} in effect of "
        f"{layers['experts'][least]}); "
        + (f"dead experts are in {names(shared)}." if shared else "no layer has a dead expert.")
    )
    what = HeatMap(
        layer_names,
        [str(i + 1) for i in range(width)],
        dense,
        effective=effective,
        value_word="load",
    )
    figure = Figure(
        "layers",
        "Heat map of load, layers down, experts across",
        "Load in % of every expert of every layer; bar: experts in effect.",
        draw_heat_map(what),
        what.height,
        what.min_width,
        top=what.top,
    )
    head = ("layer", *(str(i + 1) for i in range(width)), "in effect", "dead")
    rows = [
        (
            name,
            [
                *(
                    Cell("–") if np.isnan(v) else Cell(per_cent(v), shade=shade(v, what.top))
                    for v in dense[i]
                ),
                Cell(number(layers["effective"][i])),
                Cell(f"{len(layers['dead'][i])}"),
            ],
        )
        for i, name in enumerate(layer_names)
    ]
    found = [Block("Layers", sentence, [figure], [Table("Load in %", head, rows)])]
    if layers.get("agreement") and len(layer_names) > 1:
        found.append(_agreement(layer_names, np.asarray(layers["agreement"], dtype=float)))
    return found


def _agreement(layer_names: Sequence[str], agreement: np.ndarray) -> Block:
    one, two = np.triu_indices(len(layer_names), 1)
    pairs = agreement[one, two]
    best = int(pairs.argmax())
    sentence = (
        f"Two layers agree by {pairs.mean():.2f} on average (0 nothing in common, 1 the same "
        f"routing), {layer_names[one[best]]} and {layer_names[two[best]]} most: {pairs[best]:.2f}."
    )
    what = HeatMap(
        layer_names,
        layer_names,
        agreement,
        column_word="layer",
        value_word="agreement",
    )
    figure = Figure(
        "agreement",
        "Heat map of the agreement of every two layers",
        "Mutual information of the frames’ first experts, normalised, in %.",
        draw_heat_map(what),
        what.height,
        what.min_width,
        top=what.top,
    )
    rows = [
        (name, [Cell(number(float(v)), shade=shade(float(v))) for v in agreement[i]])
        for i, name in enumerate(layer_names)
    ]
    table = Table("Agreement, 0 to 1", ("layer", *layer_names), rows)
    return Block("Agreement between layers", sentence, [figure], [table])
