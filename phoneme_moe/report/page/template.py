"""Rendering of the pages (report, comparison and clips) from one template and style sheet.

A page is one HTML file that opens from disk without a network; its content security policy allows
only its own scripts, by hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from phoneme_moe.report.number_format import number, percent
from phoneme_moe.report.page.palette import Theme, expert_colours, ramp_colours, with_ink

if TYPE_CHECKING:
    from phoneme_moe.report.page.charts import Chart
    from phoneme_moe.report.page.plots import Drawing

_ROOM = "phoneme_moe.report"


def render(
    template: str,
    *,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    num_experts: int = 0,
    **values: Any,
) -> str:
    """Renders a page from its template.

    Args:
        template: Path relative to ``report``.
        styles: Paths of style sheets in addition to the common one.
        scripts: Content of the scripts in execution order.
        num_experts: Number of CSS classes of expert colours (``e0`` ...).
        values: Values for the template.
    """
    closed = [script.replace("</script", "<\\/script") for script in scripts]
    return (
        _environment()
        .get_template(template)
        .render(
            style=style(styles, num_experts),
            ramps=_ramps(),
            scripts=[Markup(script) for script in closed],
            hashes=" ".join(_hash(script) for script in closed) or "'none'",
            **values,
        )
    )


def style(styles: Sequence[str] = (), num_experts: int = 0) -> Markup:
    """The style sheet of a page, with classes for weights (``w0`` ... ``w100``) and experts.

    Args:
        styles: As in ``render``.
        num_experts: As in ``render``.
    """
    colours = render_part(
        "page/colours.css.jinja",
        ramps=_ramps(),
        experts=with_ink(expert_colours(num_experts)) if num_experts else [],
    )
    return Markup("\n").join([*map(Markup, map(read, ("page/page.css", *styles))), colours])


def render_part(template: str, **values: Any) -> Markup:
    """Renders a part of a page from its template."""
    return Markup(_environment().get_template(template).render(**values))


def read(path: str) -> str:
    """Reads a text file by its path relative to ``report``."""
    return resources.files(_ROOM).joinpath(path).read_text(encoding="utf-8")


def data_text(value: Any) -> Markup:
    """A value as JSON that is safe within a script element.

    A browser ends the element at the first ``</script``, so every ``<`` is escaped.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_base64)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


def _ramps() -> dict[str, list[tuple[str, str]]]:
    """Background and text colour of each weight, by theme."""
    themes: tuple[Theme, ...] = ("light", "dark")
    return {theme: with_ink(ramp_colours(theme)) for theme in themes}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_ROOM, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "thousands": "{:,}".format,
        "percent": lambda share: percent(share).replace(" ", "\u00a0"),
        "number": number,
        "data": data_text,
        "drawing": _drawing,
    }
    environment.filters |= filters
    return environment


def _drawing(chart: Chart) -> Drawing:
    """A chart as a Bokeh document, which only the report has: Bokeh is slow to import."""
    from phoneme_moe.report.page.draw import draw_chart

    return draw_chart(chart)


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _base64(value: Any) -> Any:
    """Encodes the binary arrays of a Bokeh document."""
    return base64.b64encode(bytes(value)).decode()
