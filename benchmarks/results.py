"""Figures of the benchmarks, kept as JSON so that an interrupted one resumes; as tables."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from phoneme_moe.files.writing import write_json

FOLDER = Path(__file__).parent / "results"


def read(name: str) -> dict[str, Any]:
    """Figures that were kept under a name; empty when there are none."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        return {}
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def keep(name: str, figures: dict[str, Any]) -> None:
    """Keeps figures under a name."""
    write_json(FOLDER / f"{name}.json", figures)


def machine() -> str:
    """The processor and its cores in a few words."""
    import torch

    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns after the first are aligned right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def with_section(page: Path, name: str, content: str) -> str:
    """The text of a page with a section between ``<!-- begin NAME -->`` and ``end`` replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{content}{end}{after}"
