"""One utterance over time: waveform, spectrogram, phonemes, gate weights and entropy.

Legend: T rows (frames or tokens), E experts.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, FixedTicker, Image, LinearColorMapper, Range1d
from bokeh.plotting import figure

from phoneme_moe.report.number_format import DASH, in_percent, number
from phoneme_moe.report.page.palette import shade
from phoneme_moe.report.page.parts import Cell, Drawing, Table, row
from phoneme_moe.report.page.plots import drawing, frame, tag, themed, write

Span = Mapping[str, Any]
#: Number of experts drawn individually; the others are drawn together.
_DRAWN = 12
_LEFT, _RIGHT = 58, 10
#: Heights of the panels in CSS pixels.
_WAVE, _MEL, _PHONEMES, _WEIGHTS, _ENTROPY = 70, 150, 78, 180, 110
_HEIGHT = _WAVE + _MEL + _PHONEMES + _WEIGHTS + _ENTROPY


def time_view(one: Mapping[str, Any], colours: Sequence[str]) -> Drawing:
    """Draws the five panels of an utterance.

    Args:
        one: An entry of the document's ``utterances``.
        colours: CSS colour of each expert.
    """
    shared = Range1d(start=0, end=one["seconds"], bounds=(0, one["seconds"]))
    panels = [
        _waveform(one, shared),
        _spectrogram(one, shared),
        _phonemes(one, shared),
        _weights(one, shared, colours),
        _entropy(one, shared),
    ]
    stacked = column([p for p in panels if p], sizing_mode="stretch_width", spacing=0)
    return drawing(stacked, height=_HEIGHT)


def experts_drawn(one: Mapping[str, Any]) -> list[int]:
    """Experts drawn individually in an utterance, greatest weight at the bottom."""
    load = np.asarray(one["weights"], dtype=float).mean(axis=0)
    order: list[int] = np.argsort(-load, kind="stable").tolist()
    return order if len(order) <= _DRAWN else order[: _DRAWN - 1]


def phoneme_table(one: Mapping[str, Any], experts: Sequence[str]) -> Table:
    """Table of the reference phonemes with hypothesis and routing."""
    weights = np.asarray(one["weights"], dtype=float)
    entropy = np.asarray(one["entropy"], dtype=float)
    centres = (np.arange(len(weights)) + 0.5) * one["frame_seconds"]
    rows = []
    for span in one["reference"] or [{"phoneme": "whole", "start": 0, "end": one["seconds"]}]:
        inside = (centres >= span["start"]) & (centres < span["end"])
        if not inside.any():
            inside[np.abs(centres - (span["start"] + span["end"]) / 2).argmin()] = True
        mean = weights[inside].mean(axis=0)
        best = int(mean.argmax())
        hypothesis = " ".join(
            other["phoneme"]
            for other in one["hypothesis"]
            if other["start"] < span["end"] and other["end"] > span["start"]
        )
        rows.append(
            row(
                span["phoneme"],
                number(span["start"]),
                number(span["end"]),
                hypothesis or DASH,
                experts[best],
                Cell(in_percent(mean[best]), shade=shade(mean[best])),
                number(float(entropy[inside].mean())),
            )
        )
    return Table(
        "Every phoneme of the utterance, in seconds; weights in %, entropy in bits",
        ("reference", "start", "end", "hypothesis", "most used expert", "its weight", "entropy"),
        rows,
        frozenset({2, 3}),
    )


def _panel(height: int, shared: Range1d, y: tuple[float, float], label: str, name: str) -> figure:
    plot = frame(
        height,
        (0, 1),
        y,
        y_label=label,
        x_range=shared,
        min_border_left=_LEFT,
        min_border_right=_RIGHT,
        min_border_top=4,
        min_border_bottom=4,
        name=name,
        lod_threshold=None,
    )
    plot.xaxis[0].visible = False
    plot.yaxis[0].axis_label_text_font_size = "11px"
    plot.yaxis[0].major_label_text_font_size = "10px"
    themed(plot.yaxis[0], major_label_text_color="--quiet")
    return plot


def _waveform(one: Mapping[str, Any], shared: Range1d) -> figure | None:
    envelope = one.get("envelope")
    if not envelope:
        return None
    low = np.asarray(envelope["low"], dtype=np.float32)
    high = np.asarray(envelope["high"], dtype=np.float32)
    peak = max(float(np.abs(low).max(initial=0)), float(high.max(initial=0)), 1e-3) * 1.05
    plot = _panel(_WAVE, shared, (-peak, peak), "wave", "wave")
    plot.yaxis[0].ticker = FixedTicker(ticks=[])
    x = (np.arange(len(low)) + 0.5) * envelope["seconds_per_point"]
    area = plot.varea(x.astype(np.float32), low, high)
    themed(area.glyph, fill_color="--wave")
    return plot


def _spectrogram(one: Mapping[str, Any], shared: Range1d) -> figure | None:
    mel = one.get("spectrogram")
    if not mel:
        return None
    bands, columns = mel["bands"], mel["columns"]
    levels = np.frombuffer(base64.b64decode(mel["base64"]), dtype=np.uint8).reshape(bands, columns)
    plot = _panel(_MEL, shared, (0, bands), "mel bands", "spectrogram")
    plot.yaxis[0].ticker = FixedTicker(ticks=[])
    colours = LinearColorMapper(palette=["#fff", "#000"], low=0, high=255)
    tag(colours, sound=True)
    picture = Image(
        image="image",
        x=0,
        y=0,
        dw=columns * mel["seconds_per_column"],
        dh=bands,
        color_mapper=colours,
    )
    plot.add_glyph(ColumnDataSource({"image": [levels]}), picture)
    return plot


def _phonemes(one: Mapping[str, Any], shared: Range1d) -> figure:
    plot = _panel(_PHONEMES, shared, (0, 2), "", "phonemes")
    plot.yaxis[0].ticker = FixedTicker(ticks=[0.5, 1.5])
    plot.yaxis[0].major_label_overrides = {1.5: "ref.", 0.5: "hyp."}
    for kind, spans, bottom in (
        ("reference", one["reference"], 1.04),
        ("hypothesis", one["hypothesis"], 0.04),
    ):
        wrong = [span for span in spans if not _in_reference(span, one["reference"])]
        right = [span for span in spans if span not in wrong]
        for part, fill, line in (
            (right, "--panel", "--strong-line"),
            (wrong, "--wrong", "--outline"),
        ):
            boxes = plot.quad(
                left=[span["start"] for span in part],
                right=[span["end"] for span in part],
                bottom=[bottom] * len(part),
                top=[bottom + 0.92] * len(part),
            )
            themed(boxes.glyph, fill_color=fill, line_color=line)
        phonemes = [span["phoneme"] for span in spans]
        source = ColumnDataSource(
            {
                "x": [(span["start"] + span["end"]) / 2 for span in spans],
                "y": [bottom + 0.46] * len(spans),
                "start": [span["start"] for span in spans],
                "end": [span["end"] for span in spans],
                "phoneme": phonemes,
                "text": phonemes,
            },
            name=kind,
        )
        text = write(plot, source, "x", "text", "12px", text_align="center")
        themed(text.glyph, text_color="--ink")
    return plot


def _weights(one: Mapping[str, Any], shared: Range1d, colours: Sequence[str]) -> figure:
    weights = np.asarray(one["weights"], dtype=np.float64)
    # Hundredths of a per cent in 16 bits, half the size of float32.
    plot = _panel(_WEIGHTS, shared, (0, 10_000), "weight, %", "weights")
    plot.yaxis[0].ticker = FixedTicker(ticks=[2500, 5000, 7500])
    plot.yaxis[0].major_label_overrides = {2500: "25", 5000: "50", 7500: "75"}
    drawn = experts_drawn(one)
    parts = [weights[:, i] for i in drawn]
    fills: list[str | None] = [colours[i] for i in drawn]
    if len(drawn) < weights.shape[1]:
        parts.append(1 - np.sum(parts, axis=0))
        fills.append(None)
    tops = (10_000 * np.cumsum(parts, axis=0).clip(0, 1)).round().astype(np.uint16)
    # One more point than rows, so that the last step extends to the end of its row.
    x = np.append(np.arange(len(weights)), len(weights)) * one["frame_seconds"]
    data: dict[str, Any] = {"x": x.astype(np.float32), "top0": np.zeros(len(x), np.uint16)}
    for i, top in enumerate(tops):
        data[f"top{i + 1}"] = np.append(top, top[-1:])
    source = ColumnDataSource(data, name="weights")
    for i, fill in enumerate(fills):
        area = plot.varea_step(
            "x", f"top{i}", f"top{i + 1}", source=source, step_mode="after", fill_color=fill
        )
        if fill is None:
            themed(area.glyph, fill_color="--rest")
    return plot


def _entropy(one: Mapping[str, Any], shared: Range1d) -> figure:
    entropy = np.asarray(one["entropy"], dtype=np.float32)
    top = max(1.0, float(entropy.max(initial=0)) * 1.1)
    plot = _panel(_ENTROPY, shared, (0, top), "bits", "entropy")
    x = np.append(np.arange(len(entropy)), len(entropy)) * one["frame_seconds"]
    source = ColumnDataSource(
        {"x": x.astype(np.float32), "y": np.append(entropy, entropy[-1:])}, name="entropy"
    )
    line = plot.step("x", "y", source=source, mode="after", line_width=1.5)
    themed(line.glyph, line_color="--second")
    plot.xaxis[0].visible = True
    plot.xaxis[0].axis_label = "seconds"
    plot.xaxis[0].axis_label_standoff = 2
    themed(plot.ygrid[0], grid_line_color="--line")
    return plot


def _in_reference(span: Span, reference: Sequence[Span]) -> bool:
    """Whether the reference has the phoneme at that time."""
    return any(
        other["phoneme"] == span["phoneme"]
        and other["start"] < span["end"]
        and other["end"] > span["start"]
        for other in reference
    )
