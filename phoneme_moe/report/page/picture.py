"""The heat map of a report as a figure for papers: speakers by experts, in per cent."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from phoneme_moe.report.document_parts import Clustering
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.palette import OUTLINE_COLOUR, ink, ramp, shade
from phoneme_moe.report.statistics import RoutingReport
from phoneme_moe.system.terminal import printable

#: Width in inches; shown 900 pixels wide, one point is 1.4 pixels.
_WIDTH = 9.0
_TALLEST_ROW, _SHORTEST_ROW, _ROWS_HEIGHT = 0.46, 0.16, 8.0
_TITLE, _FOOT, _BARS, _MARGIN = 0.85, 0.85, 1.35, 0.15
#: Smallest font size of cell numbers in points; smaller numbers are omitted.
_SMALLEST_NUMBER, _LABEL = 6.5, 12.0
_MOST_SPEAKERS, _LONGEST_NAME = 150, 24
_TEXT, _QUIET, _BAR = "#1c2330", "#667085", "#8a94a6"


def heat_map(report: RoutingReport, title: str, clustering: Clustering | None = None) -> Figure:
    """Mean gate weights as a heat map, with the effective number of experts beside it.

    Args:
        report: The statistics; if there are more than 150 speakers, those with the greatest
            effective number of experts are drawn.
        title: Title above the figure.
        clustering: Order of speakers and experts, as on the page; by default that of the report.

    Returns:
        A figure with its own Agg canvas, without pyplot and its global state.
    """
    speakers = list(range(len(report.speakers)))
    experts = list(range(len(report.experts)))
    if clustering is not None:
        speakers, experts = clustering.speaker_order, clustering.expert_order
    if len(speakers) > _MOST_SPEAKERS:
        kept = set(report.most_blended(_MOST_SPEAKERS))
        title += f" ({_MOST_SPEAKERS} most blended of {len(speakers)} {report.label_name}s)"
        speakers = [speaker for speaker in speakers if speaker in kept]
    report = report.select(speakers)
    place = {expert: column for column, expert in enumerate(experts)}
    heat = HeatMap(
        rows=_short(report.speakers),
        columns=_short([report.experts[expert] for expert in experts]),
        weights=report.weights[:, experts],
        outlined=[None if own is None else place[own] for own in report.own_expert],
        outline=f"the {report.label_name}'s own expert",
        kinds=(report.label_name, "expert"),
        effective=report.effective_experts,
        within=report.effective_per_row,
        unit=report.unit,
    )
    return _draw(heat, printable(title))


def _draw(heat: HeatMap, title: str) -> Figure:
    num_speakers, num_experts = heat.weights.shape
    speakers, experts = heat.rows, heat.columns
    row = float(np.clip(_ROWS_HEIGHT / num_speakers, _SHORTEST_ROW, _TALLEST_ROW))
    label_size = min(_LABEL, 72 * row * 0.72)
    left = _MARGIN + 0.15 + max(_inches(name, label_size) for name in speakers)
    width = min(_WIDTH - left - _BARS - 0.35, 1.15 * num_experts)
    column = width / num_experts
    longest = max(_inches(name, _LABEL) for name in experts)
    upright = longest > 0.95 * column
    head = _TITLE + (longest if upright else 0.2) + 0.1
    height = head + row * num_speakers + _FOOT

    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)

    def inches(x: float, y: float, wide: float, high: float) -> tuple[float, float, float, float]:
        return (x / _WIDTH, y / height, wide / _WIDTH, high / height)

    cells = figure.add_axes(inches(left, _FOOT, width, row * num_speakers))
    bars = figure.add_axes(
        inches(left + width + 0.2, _FOOT, _BARS, row * num_speakers), sharey=cells
    )
    _draw_cells(cells, heat, column, row)
    cells.set_yticks(range(num_speakers), speakers, size=label_size, color=_TEXT, parse_math=False)
    step = int(np.ceil(0.15 / column))
    cells.set_xticks(
        range(0, num_experts, step),
        experts[::step],
        size=min(_LABEL, 72 * column * step * 0.8) if upright else _LABEL,
        rotation=90 if upright else 0,
        color=_TEXT,
        parse_math=False,
    )
    cells.tick_params(length=0, labeltop=True, labelbottom=False, pad=5)
    _draw_bars(bars, heat, min(label_size, 10.5))
    bars.text(
        0,
        1 + 0.07 / (row * num_speakers),
        "effective experts",
        size=10.5,
        color=_TEXT,
        transform=bars.transAxes,
    )
    _draw_heading(figure, title, heat.kinds[0])
    _draw_key(figure, inches(left, 0.42, 2.2, 0.13), heat)
    return figure


def figure_bytes(
    figure: Figure, kind: str, title: str, *, description: str = "", dpi: float = 200
) -> bytes:
    """Renders a figure to the content of a file, reproducibly.

    Args:
        figure: The figure.
        kind: ``svg``, ``pdf`` or ``png``.
        title: Title for the file's metadata.
        description: Description for the file's metadata; none if empty.
        dpi: Pixels per inch.
    """
    content = io.BytesIO()
    # Without a date, and without the version of matplotlib.
    blank = {"svg": ("Date", "Creator"), "pdf": ("CreationDate", "Creator", "Producer")}
    metadata = {"Title": printable(title), **dict.fromkeys(blank.get(kind, ("Software",)))}
    if description:
        metadata["Subject" if kind == "pdf" else "Description"] = printable(description)
    # Text stays text, to be set in the font of a paper.
    with rc_context({"svg.hashsalt": "phoneme_moe", "svg.fonttype": "none"}):
        figure.savefig(content, format=kind, dpi=dpi, metadata=metadata)
    return content.getvalue()


def _draw_cells(axes: Axes, heat: HeatMap, column: float, row: float) -> None:
    """Draws the cells with numbers and outlines; column and row sizes in inches."""
    num_speakers, num_experts = heat.weights.shape
    colours = ramp("light")
    axes.pcolormesh(
        np.arange(num_experts + 1) - 0.5,
        np.arange(num_speakers + 1) - 0.5,
        heat.weights,
        cmap=ListedColormap(colours),
        vmin=0,
        vmax=heat.top,
        edgecolors="#e3e7ee",
        linewidth=0.6 if min(row, column) > 0.2 else 0.2,
    )
    axes.set_ylim(num_speakers - 0.5, -0.5)
    axes.spines[:].set_visible(False)

    number_size = min(72 * row * 0.55, 72 * column / 2.4, 13.0)
    if number_size >= _SMALLEST_NUMBER:
        for (y, x), weight in np.ndenumerate(heat.weights):
            background = tuple(colours[shade(float(weight), heat.top)])
            quiet = weight < 0.005
            axes.text(
                x,
                y,
                f"{100 * weight:.0f}",
                ha="center",
                va="center_baseline",
                size=number_size,
                color=_BAR if quiet else ink(background),
            )
    for y, outlined in enumerate(heat.outlined):
        if outlined is not None:
            axes.add_patch(
                Rectangle(
                    (outlined - 0.5, y - 0.5),
                    1,
                    1,
                    fill=False,
                    edgecolor=OUTLINE_COLOUR,
                    linewidth=float(np.clip(72 * min(row, column) * 0.09, 0.8, 2.2)),
                    zorder=3,
                    clip_on=False,
                )
            )


def _draw_bars(axes: Axes, heat: HeatMap, size: float) -> None:
    """Draws the effective number of experts: bar over all frames, tick within one frame."""
    effective, within = heat.effective, heat.within
    assert effective is not None
    assert within is not None
    y = np.arange(len(effective))
    axes.barh(y, effective, height=0.56, color="#cfd6e1")
    axes.vlines(within, y - 0.28, y + 0.28, color=_TEXT, linewidth=size / 6)
    for number, value in enumerate(effective):
        axes.annotate(
            f"{value:.1f}",
            (value, number),
            (4, 0),
            textcoords="offset points",
            va="center_baseline",
            size=size,
            color=_QUIET,
        )
    axes.set_xlim(0, max(2.0, float(effective.max())) * 1.42)
    axes.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def _draw_heading(figure: Figure, title: str, label: str) -> None:
    size = min(14.0, (_WIDTH - 2 * _MARGIN) * 72 / (0.66 * max(len(title), 1)))
    subtitle = f"Mean gate weight of every expert (across) for every {label} (down), in per cent"
    x, height = _MARGIN / _WIDTH, figure.get_figheight()
    figure.text(
        x,
        1 - 0.18 / height,
        title,
        va="top",
        size=size,
        weight="bold",
        color=_TEXT,
        parse_math=False,
    )
    figure.text(x, 1 - 0.47 / height, subtitle, va="top", size=10.5, color=_QUIET)


def _draw_key(figure: Figure, place: tuple[float, float, float, float], heat: HeatMap) -> None:
    """Draws the colour scale and the legend; ``place`` is relative to the figure."""
    scale = figure.add_axes(place)
    top = 100 * heat.top
    scale.imshow(ramp("light")[None], aspect="auto", extent=(0, top, 0, 1))
    ends = ["0", f"{top / 2:g}", f"{top:g} %"]
    scale.set_xticks([0, top / 2, top], ends, size=10, color=_QUIET)
    scale.set_yticks([])
    scale.tick_params(length=0, pad=3)
    scale.spines[:].set_color("#cfd6e1")
    notes = [f"bar: over all {heat.unit}s, tick: within one {heat.unit}"]
    if any(column is not None for column in heat.outlined):
        notes.insert(0, f"outlined: {heat.outline}")
    x, y, wide, high = place
    figure.text(
        x + wide + 0.4 / _WIDTH,
        y + high / 2,
        "\n".join(notes),
        va="center",
        size=10,
        color=_QUIET,
        linespacing=1.4,
    )


def _short(labels: Sequence[str]) -> list[str]:
    """Labels without control characters, which SVG cannot have, and room left for the cells."""
    return [
        name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        for name in map(printable, labels)
    ]


def _inches(text: str, points: float) -> float:
    """Approximate width of a text."""
    return len(text) * points * 0.6 / 72
