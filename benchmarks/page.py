"""Writes docs/benchmarks.md from the kept figures of the benchmarks.

``python -m benchmarks.page``; every benchmark does so when it ends. Benchmarks import this module
for that; it knows them by name only.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from benchmarks import results
from phoneme_moe.files.writing import write_text

DOCS = Path(__file__).parent.parent / "docs"

HEAD = """# Benchmarks

Written by the programs in `benchmarks/` (`python -m benchmarks.NAME`); figures in
`benchmarks/results/`. Error of speaker experts is PER for `six_speakers_digits` (19 phonemes, no
folding) and 1 - accuracy for `hampshire_waibel`, in per cent, on the test split, lower is better.
"""

SECTIONS = (
    "six_speakers",
    "alignment",
    "training_step",
    "sparse_ladder",
    "flat_cost",
    "on_gpu",
    "step_profile",
    "against_speechbrain",
    "against_hama",
    "transcribe",
    "g2p",
    "routing_scale",
)
"""Benchmarks in the order of the page: modules with a function ``section(figures)``."""


def text() -> str:
    """The page: a section for each benchmark with kept figures, then the notes."""
    parts = [HEAD]
    for name in SECTIONS:
        figures = results.read(name)
        if figures:
            parts.append(import_module(f"benchmarks.{name}").section(figures))
    parts.append((Path(__file__).parent / "notes.md").read_text(encoding="utf-8"))
    return "\n".join(parts)


def write() -> None:
    """Writes the page."""
    write_text(DOCS / "benchmarks.md", text())


if __name__ == "__main__":
    write()
