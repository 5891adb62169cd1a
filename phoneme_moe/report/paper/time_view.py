"""One utterance over time on paper: five panels with a common time axis.

All lengths are in points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap

from phoneme_moe.report.page.palette import ramp
from phoneme_moe.report.page.time_view import Span, TimeView
from phoneme_moe.report.paper.sheet import (
    BELOW_AXIS,
    MARGIN,
    Box,
    Key,
    Sheet,
    colour_of,
    even_marks,
    legend_rows,
)
from phoneme_moe.report.paper.style import PaperStyle

_WAVE, _MEL, _WEIGHTS, _ENTROPY = 3.2, 6.5, 8.0, 4.5
"""Heights of panels in font sizes."""
_SHARES = ((0.25, "25"), (0.5, "50"), (0.75, "75"))


def draw_time_view(view: TimeView, style: PaperStyle, keys: Sequence[Key]) -> Sheet:
    """Draws waveform, spectrogram, phonemes, weights and entropy, one below the other.

    Args:
        view: The utterance.
        style: Width and font size.
        keys: Entries of the legend: the experts.
    """
    em = style.font_size
    left = MARGIN + 1.4 * em + style.widest(["hyp.", "75"]) + 0.4 * em
    width = style.width - left - 0.8 * em
    legend = legend_rows(keys, style, style.width - 2 * MARGIN)
    bits = even_marks((0.0, view.most_entropy), 3)
    row = _phoneme_height(view, style, width)
    heights = {
        "wave": _WAVE * em if len(view.envelope[0]) else 0.0,
        "mel": _MEL * em if view.spectrogram is not None else 0.0,
        "phonemes": 2 * row,
        "weights": _WEIGHTS * em,
        "entropy": _ENTROPY * em,
    }
    gap = 0.5 * em
    boxes, top = {}, MARGIN + style.line * len(legend) + 0.3 * em
    for name, height in heights.items():
        boxes[name] = Box(left, top, width, height)
        top += height + gap if height else 0.0
    sheet = Sheet(style, top - gap + BELOW_AXIS * style.line)
    sheet.legend(legend, MARGIN, MARGIN)
    if boxes["wave"].height:
        _draw_waveform(sheet, view, boxes["wave"])
    if boxes["mel"].height:
        _draw_spectrogram(sheet, view, boxes["mel"])
    _draw_phonemes(sheet, view, boxes["phonemes"])
    _draw_weights(sheet, view, boxes["weights"])
    sheet.y_axis(boxes["entropy"], (0, view.most_entropy), bits, "bits")
    axes = sheet.axes(boxes["entropy"], (0, view.seconds), (0, view.most_entropy))
    axes.stairs(
        view.entropy, view.frame_edges, baseline=None, color=colour_of("--second"), linewidth=0.9
    )
    sheet.x_axis(boxes["entropy"], (0, view.seconds), "seconds", grid=False)
    return sheet


def _draw_waveform(sheet: Sheet, view: TimeView, box: Box) -> None:
    sheet.y_axis(box, (-1, 1), [], "wave")
    times, low, high = view.envelope
    axes = sheet.axes(box, (0, view.seconds), (-view.peak, view.peak))
    axes.fill_between(times, low, high, color=colour_of("--wave"), linewidth=0)


def _draw_spectrogram(sheet: Sheet, view: TimeView, box: Box) -> None:
    assert view.spectrogram is not None
    levels, end = view.spectrogram
    sheet.y_axis(box, (0, 1), [], "mel bands")
    axes = sheet.axes(box, (0, view.seconds), (0, len(levels)))
    axes.imshow(
        levels,
        cmap=ListedColormap(ramp("light")),
        vmin=0,
        vmax=255,
        origin="lower",
        aspect="auto",
        interpolation="none",
        extent=(0, end, 0, len(levels)),
    )
    axes.set(xlim=(0, view.seconds), ylim=(0, len(levels)))


def _fits(span: Span, view: TimeView, style: PaperStyle, width: float) -> str:
    """How a phoneme fits into its time: ``across``, ``upright`` or, if it does not, nothing."""
    room = (span["end"] - span["start"]) / view.seconds * width
    if style.text_width(span["phoneme"]) + 0.2 * style.font_size <= room:
        return "across"
    # Capital letters are three quarters of the font size high.
    return "upright" if 0.85 * style.font_size <= room else ""


def _phoneme_height(view: TimeView, style: PaperStyle, width: float) -> float:
    """Height of a row of phonemes, with room for those that are written upwards."""
    upright = [
        style.fitted(span["phoneme"], 5 * style.font_size)
        for _, spans in view.rows_of_phonemes
        for span in spans
        if _fits(span, view, style, width) == "upright"
    ]
    return max(1.6 * style.font_size, style.widest(upright) + 0.6 * style.font_size)


def _draw_phonemes(sheet: Sheet, view: TimeView, box: Box) -> None:
    """Draws the boxes of reference and hypothesis, with the phonemes that fit into them."""
    style, row = sheet.style, box.height / 2
    scale = box.width / view.seconds
    for i, (name, (_, spans)) in enumerate(
        zip(("ref.", "hyp."), view.rows_of_phonemes, strict=True)
    ):
        top = box.top + i * row
        sheet.text(box.left - 0.4 * style.font_size, top + row / 2, name, ha="right")
        for span in spans:
            place = Box(
                box.left + span["start"] * scale,
                top + 0.04 * row,
                (span["end"] - span["start"]) * scale,
                0.92 * row,
            )
            fill, edge = (
                ("--wrong", "--outline") if view.is_wrong(span) else ("--panel", "--strong-line")
            )
            sheet.rectangle(
                place, facecolor=colour_of(fill), edgecolor=colour_of(edge), linewidth=0.5
            )
            fit = _fits(span, view, style, box.width)
            if fit:
                text = style.fitted(span["phoneme"], 5 * style.font_size)
                middle = (place.left + place.width / 2, top + row / 2)
                upright: dict[str, Any] = {"rotation": 90, "va": "center"}
                sheet.text(*middle, text, ha="center", **(upright if fit == "upright" else {}))


def _draw_weights(sheet: Sheet, view: TimeView, box: Box) -> None:
    sheet.y_axis(box, (0, 1), _SHARES, "weight, %", grid=False)
    axes = sheet.axes(box, (0, view.seconds), (0, 1))
    edges, fills = view.stacked
    below = np.zeros(edges.shape[1])
    for above, fill in zip(edges, fills, strict=True):
        colour = colour_of("--rest") if fill is None else fill
        axes.stairs(above, view.frame_edges, baseline=below, fill=True, color=colour, linewidth=0)
        below = above
