"""Bokeh plot of one utterance over time: five panels with a common time axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, FixedTicker, Image, LinearColorMapper, Range1d
from bokeh.plotting import figure

from phoneme_moe.report.page.plots import Drawing, drawing, frame, tag, themed, write
from phoneme_moe.report.page.time_view import TimeView

_LEFT, _RIGHT = 58, 10
#: Heights of the panels in CSS pixels.
_WAVE, _MEL, _PHONEMES, _WEIGHTS, _ENTROPY = 70, 150, 78, 180, 110
_HEIGHT = _WAVE + _MEL + _PHONEMES + _WEIGHTS + _ENTROPY


def draw_time_view(view: TimeView) -> Drawing:
    """Draws the five panels of an utterance."""
    shared = Range1d(start=0, end=view.seconds, bounds=(0, view.seconds))
    panels = [
        _waveform(view, shared),
        _spectrogram(view, shared),
        _phonemes(view, shared),
        _weights(view, shared),
        _entropy(view, shared),
    ]
    stacked = column([p for p in panels if p], sizing_mode="stretch_width", spacing=0)
    return drawing(stacked, height=_HEIGHT)


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


def _waveform(view: TimeView, shared: Range1d) -> figure | None:
    x, low, high = view.envelope
    if not len(x):
        return None
    plot = _panel(_WAVE, shared, (-view.peak, view.peak), "wave", "wave")
    plot.yaxis[0].ticker = FixedTicker(ticks=[])
    area = plot.varea(x.astype(np.float32), low, high)
    themed(area.glyph, fill_color="--wave")
    return plot


def _spectrogram(view: TimeView, shared: Range1d) -> figure | None:
    if view.spectrogram is None:
        return None
    levels, end = view.spectrogram
    bands = len(levels)
    plot = _panel(_MEL, shared, (0, bands), "mel bands", "spectrogram")
    plot.yaxis[0].ticker = FixedTicker(ticks=[])
    colours = LinearColorMapper(palette=["#fff", "#000"], low=0, high=255)
    tag(colours, sound=True)
    picture = Image(image="image", x=0, y=0, dw=end, dh=bands, color_mapper=colours)
    plot.add_glyph(ColumnDataSource({"image": [levels]}), picture)
    return plot


def _phonemes(view: TimeView, shared: Range1d) -> figure:
    plot = _panel(_PHONEMES, shared, (0, 2), "", "phonemes")
    plot.yaxis[0].ticker = FixedTicker(ticks=[0.5, 1.5])
    plot.yaxis[0].major_label_overrides = {1.5: "ref.", 0.5: "hyp."}
    for (kind, spans), bottom in zip(view.rows_of_phonemes, (1.04, 0.04), strict=True):
        wrong = [span for span in spans if view.is_wrong(span)]
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


def _weights(view: TimeView, shared: Range1d) -> figure:
    # Hundredths of a per cent in 16 bits, half the size of float32.
    plot = _panel(_WEIGHTS, shared, (0, 10_000), "weight, %", "weights")
    plot.yaxis[0].ticker = FixedTicker(ticks=[2500, 5000, 7500])
    plot.yaxis[0].major_label_overrides = {2500: "25", 5000: "50", 7500: "75"}
    edges, fills = view.stacked
    tops = (10_000 * edges).round().astype(np.uint16)
    # One more point than rows, so that the last step extends to the end of its row.
    x = view.frame_edges
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


def _entropy(view: TimeView, shared: Range1d) -> figure:
    x, entropy = view.frame_edges, view.entropy
    plot = _panel(_ENTROPY, shared, (0, view.most_entropy), "bits", "entropy")
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
