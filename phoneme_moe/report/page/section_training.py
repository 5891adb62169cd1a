"""The section on routing over the epochs of training, and on the layers of the model.

Legend: L layers, N points of training, E experts of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.recipe.router import numbered_experts
from phoneme_moe.report.number_format import (
    DASH,
    in_percent,
    names,
    number,
    percent,
    plural,
)
from phoneme_moe.report.page.charts import Curves, Stack
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.palette import expert_colours
from phoneme_moe.report.page.parts import Block, Figure, Section, Table, row
from phoneme_moe.report.page.training_sentence import training_sentence

Document = Mapping[str, Any]
#: Key of a series, label of its axis, title of its figure, number of decimals.
_SERIES = (
    ("entropy", "effective experts", "Effective number of experts within a {unit}", 2),
    ("variation", "coefficient of variation", "Unevenness of the load", 2),
    ("dead", "dead experts", "Dead experts", 0),
)


def training_section(document: Document) -> Section | None:
    """The section: load, entropy and dead experts over epochs; comparison of layers."""
    blocks: list[Block] = []
    training, unit = document.get("training") or {}, document.get("unit") or "frame"
    if training.get("layers"):
        blocks += _training([*map(str, training["epochs"])], training["layers"], unit)
    if document.get("layers"):
        blocks += _layers(document["layers"], unit)
    return Section("training", "Training and layers", blocks) if blocks else None


def _training(epochs: Sequence[str], layers: Sequence[Mapping[str, Any]], unit: str) -> list[Block]:
    colours = expert_colours(len(layers))
    figures = []
    for key, label, title, _ in _SERIES:
        known = [
            (colours[i], layer)
            for i, layer in enumerate(layers)
            if any(value is not None for value in layer.get(key) or ())
        ]
        if not known:
            continue
        chart = Curves(
            [layer["layer"] for _, layer in known],
            epochs,
            # None becomes NaN.
            np.array([layer[key] for _, layer in known], dtype=float),
            label,
            [colour for colour, _ in known],
        )
        legend = [(colour, layer["layer"]) for colour, layer in known] if len(layers) > 1 else ()
        name, title = f"training-{key}", title.format(unit=unit)
        figures.append(Figure(name, f"{title} over the epochs", f"{title}.", chart, legend))
    blocks = [
        Block("", training_sentence(epochs, layers, unit), figures, [_table(epochs, layers, unit)])
    ]
    loads = [
        (layer["layer"], _load(epochs, layer, i))
        for i, layer in enumerate(layers)
        if any(row is not None for row in layer.get("load") or ())
    ]
    if len(loads) == 1:
        blocks.append(loads[0][1])
    elif loads:
        title, sentence = "Load over the epochs", "Load of the experts of one layer."
        data = {"label": "Layer"}
        blocks.append(Block(title, sentence, choices=loads, id="load-layer", data=data))
    return blocks


def _load(epochs: Sequence[str], layer: Mapping[str, Any], index: int) -> Block:
    rows = layer["load"]
    width = max(len(row) for row in rows if row is not None)
    share = np.array([[np.nan] * width if row is None else row for row in rows], dtype=float)
    experts = layer.get("experts") or numbered_experts(width)
    colours = expert_colours(width)
    last = share[~np.isnan(share).any(axis=1)][-1]
    top = int(last.argmax())
    sentence = (
        f"At the end the busiest of {plural(width, 'expert')} is {experts[top]} with "
        f"{percent(last[top])} of the load; an equal share would be {100 / width:.0f} %."
    )
    title = f"Load of {layer['layer']} over the epochs"
    figure = Figure(
        f"load-{index}",
        title,
        "Load of the experts, stacked.",
        Stack(experts, epochs, share, colours),
        legend=list(zip(colours, experts, strict=True)) if width <= 16 else (),
    )
    table = Table(
        f"Load in %, {layer['layer']}",
        ("epoch", *experts),
        [
            row(epoch, *(DASH if np.isnan(v) else in_percent(v) for v in values))
            for epoch, values in zip(epochs, share, strict=True)
        ],
    )
    return Block(title, sentence, [figure], [table])


def _table(epochs: Sequence[str], layers: Sequence[Mapping[str, Any]], unit: str) -> Table:
    rows = [
        row(
            epoch if len(layers) == 1 else f"{layer['layer']}, {epoch}",
            *(number((layer.get(key) or {i: None})[i], places) for key, _, _, places in _SERIES),
        )
        for layer in layers
        for i, epoch in enumerate(epochs)
    ]
    head = (
        "epoch",
        f"effective experts within a {unit}",
        "unevenness of the load",
        "dead experts",
    )
    return Table("Over the epochs", head, rows)


def _layers(layers: Mapping[str, Any], unit: str) -> list[Block]:
    layer_names, load, dead = layers["names"], layers["load"], layers["dead"]
    width = max(len(row) for row in load)
    effective = np.asarray(layers["effective"], dtype=float)
    with_dead = [name for name, experts in zip(layer_names, dead, strict=True) if experts]
    least = int(effective.argmin())
    sentence = (
        f"{layer_names[least]} uses the fewest experts (effective number {effective[least]:.1f} of "
        f"{layers['experts'][least]}); "
        + (
            f"{names(with_dead)} have dead experts."
            if with_dead[1:]
            else f"{with_dead[0]} has dead experts."
            if with_dead
            else "no layer has a dead expert."
        )
    )
    heat = HeatMap(
        layer_names,
        [str(i) for i in range(width)],
        np.array([[*row, *([np.nan] * (width - len(row)))] for row in load], dtype=float),
        effective=effective,
        kinds=("layer", "expert"),
        measure="load",
    )
    caption = "Load in % of every expert of every layer."
    beside = "Bar: effective number of experts."
    more = {
        "effective": [number(value) for value in layers["effective"]],
        "dead": [f"{len(experts)}" for experts in dead],
    }
    figure = heat.figure("layers", "load", caption, beside)
    blocks = [Block("Layers", sentence, [figure], [heat.table("Load in %", more=more)])]
    if layers.get("agreement") and len(layer_names) > 1:
        blocks.append(_agreement(layer_names, np.asarray(layers["agreement"], dtype=float), unit))
    return blocks


def _agreement(layer_names: Sequence[str], agreement: np.ndarray, unit: str) -> Block:
    first, second = np.triu_indices(len(layer_names), 1)
    pairs = agreement[first, second]
    best = int(pairs.argmax())
    sentence = (
        f"The mean agreement of two layers is {percent(pairs.mean())} (0 %: independent, 100 %: "
        f"the same routing); {layer_names[first[best]]} and {layer_names[second[best]]} agree "
        f"most: {percent(pairs[best])}."
    )
    kinds = ("layer", "layer")
    heat = HeatMap(layer_names, layer_names, agreement, kinds=kinds, measure="agreement")
    caption = f"Normalised mutual information of the {unit}s’ first experts, in %."
    figure = heat.figure("agreement", "the agreement of each pair of layers", caption)
    return Block("Agreement between layers", sentence, [figure], [heat.table("Agreement in %")])
