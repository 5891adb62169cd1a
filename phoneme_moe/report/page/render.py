"""The report as one HTML file that opens from disk and needs nothing else, no network either."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
from bokeh.resources import Resources
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from phoneme_moe.recipe.router import DEAD_PART
from phoneme_moe.report.number_format import percent
from phoneme_moe.report.page.palette import expert_colours, from_hex, hex_colour, ink, ramp
from phoneme_moe.report.page.parts import Section
from phoneme_moe.report.page.section_phonemes import phonemes_section
from phoneme_moe.report.page.section_speakers import speakers_section
from phoneme_moe.report.page.section_statistics import cost_section, statistics_section
from phoneme_moe.report.page.section_time import time_section
from phoneme_moe.report.page.section_training import training_section
from phoneme_moe.report.statistics import BORROW_RATIO, MAIN_SHARE

#: Files beside the page, and what they hold.
_FILES = (
    ("routing.json", "every number of this page"),
    ("routing.csv", "tidy table of means"),
    ("routing.parquet", "every frame"),
    ("routing.svg", "heat map"),
    ("routing.png", "heat map"),
)


def render_page(document: Mapping[str, Any], audio: Mapping[str, bytes] | None = None) -> str:
    """The whole report as a self-contained HTML page, light and dark.

    Args:
        document: The content of ``routing.json``, version 2; a section that is null or not there
            is left out of the page.
        audio: Ogg Opus or WAV files to hear, by utterance.

    Returns:
        The page. It links to the data files in its own folder and to nothing else; its security
        policy lets no script run but its own, which it names by their hashes.
    """
    sections = [
        speakers_section(document),
        phonemes_section(document),
        statistics_section(document),
        time_section(document, audio or {}),
        training_section(document),
        cost_section(document),
    ]
    shown = [section for section in sections if section is not None]
    scripts = _scripts()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"thousands": "{:,}".format, "percent": percent, "data": data_text}
    return environment.from_string(_resource("page.html.jinja")).render(
        document=document,
        counts=_counts(document),
        verdict=document.get("verdict") or [],
        missing=document.get("missing") or [],
        sections=shown,
        contents=_contents(shown),
        style=Markup(_resource("page.css")),
        ramps={theme: _shades(ramp(theme)) for theme in ("light", "dark")},
        experts=[
            (colour, hex_colour(ink(from_hex(colour))))
            for colour in expert_colours(max(1, len(document.get("experts") or [])))
        ],
        scripts=[Markup(script) for script in scripts],
        hashes=" ".join(_hash(script) for script in scripts),
        files=_FILES,
        rules={"main": MAIN_SHARE, "borrow": BORROW_RATIO, "dead": DEAD_PART},
    )


def data_text(value: Any) -> Markup:
    """A value as JSON that can stand in a script element, whatever names are in it.

    A browser ends the element at the first ``</script``; no ``<`` is left for that.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


def _counts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the report is about, name and value."""
    known = [(str(name), str(value)) for name, value in (document.get("facts") or {}).items()]
    for key in ("speakers", "experts"):
        known.append((key, f"{len(document.get(key) or []):,}"))
    known.append(("utterances", f"{document.get('num_utterances', 0):,}"))
    known.append((f"{document.get('unit', 'frame')}s", f"{document.get('num_rows', 0):,}"))
    return known


def _contents(sections: Sequence[Section]) -> list[tuple[str, str]]:
    return [("verdict", "Verdict"), *((section.id, section.title) for section in sections)]


def _scripts() -> list[str]:
    """BokehJS without widgets and tables, then our own."""
    bokeh = Resources(mode="inline", components=["bokeh"], minified=True).js_raw
    own = [_resource(name) for name in ("page.js", "time_view.js")]
    return [script.replace("</script", "<\\/script") for script in (*bokeh[:1], *own)]


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _plain(value: Any) -> Any:
    """What is neither text nor number in a Bokeh document: bytes."""
    return base64.b64encode(bytes(value)).decode()


def _shades(colours: Iterable[np.ndarray]) -> list[tuple[str, str]]:
    """Background and text colour of every whole per cent."""
    shades = [(float(red), float(green), float(blue)) for red, green, blue in colours]
    return [(hex_colour(shade), hex_colour(ink(shade))) for shade in shades]
