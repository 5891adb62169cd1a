"""One template and one style sheet for every page: report, comparison and clips.

A page is one HTML file that opens from disk and needs no network; its security policy lets no
script run but its own, which it names by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from phoneme_moe.report.number_format import number, percent
from phoneme_moe.report.page.palette import expert_colours, ramp_colours, with_ink

_ROOM = "phoneme_moe.report"


def render(
    template: str,
    *,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    num_experts: int = 0,
    **values: Any,
) -> str:
    """A page from its template.

    Args:
        template: Path below ``report``.
        styles: Paths of style sheets beside the common one.
        scripts: Content of the scripts, in the order they run.
        num_experts: How many experts have a class of their colour, ``e0`` and so on.
        values: What the template uses.
    """
    closed = [script.replace("</script", "<\\/script") for script in scripts]
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup("\n".join(map(read, ("page/page.css", *styles)))),
            ramps={theme: with_ink(ramp_colours(theme)) for theme in ("light", "dark")},
            experts=with_ink(expert_colours(num_experts)) if num_experts else [],
            scripts=[Markup(script) for script in closed],
            hashes=" ".join(_hash(script) for script in closed) or "'none'",
            **values,
        )
    )


def render_part(template: str, **values: Any) -> Markup:
    """A part of a page from its template."""
    return Markup(_environment().get_template(template).render(**values))


def read(path: str) -> str:
    """The text of a file below ``report``."""
    return resources.files(_ROOM).joinpath(path).read_text(encoding="utf-8")


def data_text(value: Any) -> Markup:
    """A value as JSON that can stand in a script element, whatever names are in it.

    A browser ends the element at the first ``</script``; no ``<`` is left for that.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_base64)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_ROOM, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "thousands": "{:,}".format,
        "percent": lambda share: percent(share).replace(" ", "\u00a0"),
        "number": number,
        "data": data_text,
    }
    return environment


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _base64(value: Any) -> Any:
    """The arrays of a Bokeh document, which are bytes."""
    return base64.b64encode(bytes(value)).decode()
