"""What the site needs besides its pages: links out of ``docs/``, and formulas without a script.

A file of the repository that is no page of the site is linked at its host; one that is not there
is a warning, which ``mkdocs build --strict`` does not pass. Formulas become MathML.
"""

from __future__ import annotations

import html
import logging
import os
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

HOST = "https://github.com/phoneme-moe/phoneme_moe/blob/main"
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
#: Pages that are files of another folder, whose links count from there.
INCLUDED = {"contributing.md": ROOT / "CONTRIBUTING.md", "changelog.md": ROOT / "CHANGELOG.md"}

_LINK = re.compile(
    r"(```.*?```|`[^`\n]*`)|\] (?=\[)|\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)", re.DOTALL
)
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_log = logging.getLogger("mkdocs.hooks.site_links")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links to files that are no pages into links to the repository."""
    place = DOCS / page.file.src_uri
    source = INCLUDED.get(page.file.src_uri)
    if source is not None:
        markdown = source.read_text(encoding="utf-8")

    def moved(match: re.Match[str]) -> str:
        code, target, anchor = match.groups()
        if code is not None:
            return code
        if target is None:  # [i] [I] are two vowels, not a link
            return "] \\"
        file = ((source or place).parent / target).resolve()
        if not file.exists():
            _log.warning("%s links to %s, which is not there", page.file.src_uri, target)
        inside = file.is_relative_to(DOCS) and file.suffix not in {"", ".py"}
        where = (
            Path(os.path.relpath(file, place.parent)).as_posix()
            if inside
            else f"{HOST}/{Path(os.path.relpath(file, ROOT)).as_posix()}"
        )
        return f"]({where}{anchor or ''})"

    return _LINK.sub(moved, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Turns formulas into MathML, which browsers draw by themselves."""
    return _FORMULA.sub(
        lambda match: convert(
            html.unescape(match[2]), display="inline" if match[1] == "span" else "block"
        ),
        content,
    )
