"""Full runs of the published experiments, and docs/reproduction.md from their results.

``python -m benchmarks.reproduction [NAME ...]`` runs the named experiments, or all; it resumes when
interrupted. ``--page`` only writes the page, from the kept results; ``--compare FOLDER`` compares
quick results, in a folder each, with the kept ones: they must have the same form.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from phoneme_moe.files.writing import write_text
from phoneme_moe_reproductions import EXPERIMENTS
from phoneme_moe_reproductions.results import ReproductionDocument, markdown
from phoneme_moe_reproductions.runner import reproduce

RESULTS = Path(__file__).parent / "results" / "reproduction"
DOCS = Path(__file__).parent.parent / "docs"

OPTIONAL_ROWS = ("boosted trees, XGBoost",)
"""Rows that need an optional library."""

HEAD = """# Reproduction

Published figures of the founding experiments on mixtures of experts beside ours. Written by
`python -m benchmarks.reproduction` from `benchmarks/results/reproduction/`; each experiment runs
from the command line as `phoneme-moe reproduce NAME`. A finding that was not reproduced is marked
**no**.
"""


def main() -> None:
    """Runs experiments and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--compare", type=Path, metavar="FOLDER", help="with quick results")
    arguments = parser.parse_args()
    if arguments.compare is not None:
        sys.exit(compare(arguments.compare))
    for name in [] if arguments.page else arguments.names or list(EXPERIMENTS):
        work = Path("reproductions") / name
        reproduce(name, work, jobs=arguments.jobs)
        (RESULTS / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(work / "results.json", RESULTS / name / "results.json")
        for path in work.glob("*.csv"):
            shutil.copy(path, RESULTS / name / path.name)
        for path in work.glob("*.svg"):
            shutil.copy(path, DOCS / "images" / path.name)
    write_page()


def kept_results(name: str) -> ReproductionDocument:
    """Results of an experiment's full form."""
    return _read(RESULTS / name / "results.json")


def _read(path: Path) -> ReproductionDocument:
    return ReproductionDocument.parse_json(path.read_text(encoding="utf-8"), str(path))


def form(document: ReproductionDocument) -> dict[str, Any]:
    """What does not depend on the numbers: figures, and columns and rows of tables."""
    return {
        "figures": document.figures,
        **{
            table.name: {
                "title": table.title,
                "columns": table.columns,
                "rows": [row[0] for row in table.rows if row[0] not in OPTIONAL_ROWS],
            }
            for table in document.tables
        },
    }


def compare(folder: Path) -> int:
    """Compares the quick results in a folder with the kept ones.

    Returns:
        Number of experiments that differ in form or have no kept results; each is named on standard
        error.
    """
    wrong = 0
    for path in sorted(folder.glob("*-quick/results.json")):
        quick = _read(path)
        kept = form(kept_results(quick.name))
        for part, value in form(quick).items():
            if value != kept.get(part):
                wrong += 1
                message = f"found {value}, expected {kept.get(part)} as in the kept results"
                print(f"{path}: {part}: {message}", file=sys.stderr)
    return wrong


def write_page(path: Path = DOCS / "reproduction.md") -> None:
    """Writes docs/reproduction.md, or another file, from the kept results."""
    sections = [markdown(kept_results(name), "images/") for name in EXPERIMENTS]
    write_text(path, "\n".join([HEAD, *sections]))


if __name__ == "__main__":
    main()
