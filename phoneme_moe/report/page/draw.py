"""The charts of a report as Bokeh plots of its page."""

from __future__ import annotations

from typing import assert_never

from phoneme_moe.report.page.chart_plots import (
    draw_bits,
    draw_changes,
    draw_curves,
    draw_dumbbells,
    draw_mixing,
    draw_stack,
)
from phoneme_moe.report.page.charts import (
    Bits,
    Changes,
    Chart,
    Curves,
    Dumbbells,
    MixingScatter,
    Stack,
)
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.heat_plot import draw_heat_map
from phoneme_moe.report.page.plots import Drawing
from phoneme_moe.report.page.time_plot import draw_time_view
from phoneme_moe.report.page.time_view import TimeView


def draw_chart(chart: Chart) -> Drawing:
    """Draws a chart of any kind.

    Args:
        chart: The chart.
    """
    match chart:
        case HeatMap():
            return draw_heat_map(chart)
        case Dumbbells():
            return draw_dumbbells(chart)
        case Changes():
            return draw_changes(chart)
        case Bits():
            return draw_bits(chart)
        case MixingScatter():
            return draw_mixing(chart)
        case Curves():
            return draw_curves(chart)
        case Stack():
            return draw_stack(chart)
        case TimeView():
            return draw_time_view(chart)
        case _:
            assert_never(chart)
