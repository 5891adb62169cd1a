"""What documents say of the code: names that are there, and every public name described."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import phoneme_moe

ROOT = Path(__file__).resolve().parents[1]
TERM = re.compile(
    r"^\| (?P<term>[^|]+) \| [^|]+ \| `(?P<name>\w+)` \| `(?P<file>[\w/.]+)` \|$", re.M
)
TERMS = list(TERM.finditer((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")))
DESCRIBED = re.compile(r"^::: (?P<path>[\w.]+)(?P<options>(?:\n +.*)*)", re.M)


@pytest.mark.parametrize("row", TERMS, ids=lambda row: row["term"].replace(" ", "_"))
def test_a_term_of_the_glossary_is_in_its_file(row: re.Match[str]) -> None:
    code = (ROOT / "phoneme_moe" / row["file"]).read_text(encoding="utf-8")
    assert re.search(rf"\b{row['name']}\b", code)


def test_every_row_of_the_glossary_is_checked() -> None:
    lines = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(TERMS) == len(rows) - 2 * lines.count("| term | meaning | in code | where |")


def described() -> list[Any]:
    """The objects that the pages of the API reference describe."""
    found = []
    for page in sorted((ROOT / "docs" / "api").glob("*.md")):
        for match in DESCRIBED.finditer(page.read_text(encoding="utf-8")):
            members = re.search(r"members: \[(.*)\]", match["options"])
            names = members[1].split(", ") if members else [""]
            found += [named(f"{match['path']}.{name}".rstrip(".")) for name in names]
    return found


def named(path: str) -> Any:
    """A module, or what stands in one, by its dotted path."""
    module, _, name = path.rpartition(".")
    try:
        return import_module(path)
    except ModuleNotFoundError:
        return getattr(import_module(module), name)


@pytest.mark.parametrize("name", sorted(set(phoneme_moe.__all__) - {"__version__"}))
def test_a_public_name_is_in_the_api_reference(name: str) -> None:
    public = getattr(phoneme_moe, name)
    assert any(public is one for one in described())
