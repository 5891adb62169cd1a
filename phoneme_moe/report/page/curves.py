"""Charts over the epochs of training: a line per layer, and the load of experts stacked.

Legend: E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker
from bokeh.plotting import figure
from numpy.typing import ArrayLike

from phoneme_moe.report.page.plots import frame, hover, plain, to_json


def curves(
    names: Sequence[str],
    epochs: Sequence[object],
    values: Sequence[Sequence[float | None]],
    label: str,
    colours: Sequence[str],
    top: float | None = None,
) -> dict[str, Any]:
    """One line per layer over the epochs.

    Args:
        names: Of the layers.
        epochs: What to call the points, shape (points,).
        values: For every layer, shape (layers, points); None leaves a gap.
        label: Of the vertical axis.
        colours: CSS colours of the lines.
        top: Upper end of the axis; the greatest value when left out.
    """
    rows = [np.array([np.nan if v is None else v for v in row], dtype=float) for row in values]
    highest = max((float(np.nanmax(row)) for row in rows if not np.isnan(row).all()), default=1.0)
    plot = frame(
        230,
        _span(epochs),
        (0, max(top or 0.0, highest * 1.08) or 1.0),
        x_label="epoch",
        y_label=label,
        grid="y",
    )
    dots = []
    for name, row, colour in zip(names, rows, colours, strict=True):
        source = ColumnDataSource(
            {
                "x": list(range(len(row))),
                "y": row,
                "name": [name] * len(row),
                "epoch": [str(epoch) for epoch in epochs],
            }
        )
        plot.line("x", "y", source=source, line_width=2, line_color=colour)
        dots.append(plot.scatter("x", "y", source=source, size=5, color=colour))
    _epochs_axis(plot, epochs)
    hover(plot, dots, ["<b>@name</b>", "@epoch: @y{0.00}"])
    return to_json(plot)


def stack(
    names: Sequence[str], epochs: Sequence[object], shares: ArrayLike, colours: Sequence[str]
) -> dict[str, Any]:
    """The load of every expert over the epochs, on top of each other up to 100 %.

    Args:
        names: Of the E experts.
        epochs: What to call the points, shape (points,).
        shares: Shape (points, experts), each row sums to 1, or is NaN for a gap.
        colours: CSS colours of the experts.
    """
    share = np.asarray(shares, dtype=float)
    edges = np.pad(100 * share.cumsum(axis=1), ((0, 0), (1, 0))).astype(np.float32)
    plot = frame(230, _span(epochs), (0, 100), y_label="load, %", x_label="epoch")
    data: dict[str, Any] = {
        "x": list(range(len(share))),
        "epoch": [str(epoch) for epoch in epochs],
        "edge0": edges[:, 0].copy(),
        "middle": np.full(len(share), 50.0),
    }
    lines = ["<b>@epoch</b>"]
    shown = np.argsort(-np.nanmean(share, axis=0), kind="stable")[:12]
    for i, name in enumerate(names):
        data[f"edge{i + 1}"] = edges[:, i + 1].copy()
        if i in shown:
            data |= {
                f"share{i}": (100 * share[:, i]).astype(np.float32),
                f"name{i}": [name] * len(share),
            }
            lines.append(f"@name{i} @share{i}{{0.0}} %")
    source = ColumnDataSource(data)
    for i, colour in enumerate(colours):
        plot.varea("x", f"edge{i}", f"edge{i + 1}", source=source, fill_color=colour)
    _epochs_axis(plot, epochs)
    points = plot.line("x", "middle", source=source, line_alpha=0)
    hover(plot, [points], lines, mode="vline", line_policy="nearest")
    return to_json(plot)


def _span(epochs: Sequence[object]) -> tuple[float, float]:
    """First and last point, with room about a single one."""
    return (0.0, float(len(epochs) - 1)) if len(epochs) > 1 else (-0.5, 0.5)


def _epochs_axis(plot: figure, epochs: Sequence[object]) -> None:
    """At most four names of epochs under the points."""
    shown = range(0, len(epochs), -(-len(epochs) // 4))
    plot.xaxis[0].ticker = FixedTicker(ticks=list(shown))
    plot.xaxis[0].major_label_overrides = {i: plain(str(epochs[i]), 12) for i in shown}
