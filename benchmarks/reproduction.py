"""The published experiments done again in full, and docs/reproduction.md from their files.

``python -m benchmarks.reproduction [NAME ...]`` does the named experiments, or all; interrupt it at
will. ``--page`` writes the page from what there is; ``--compare FOLDER`` holds quick results, in a
folder each, against the kept ones: they must have the same form.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phoneme_moe.files import write_text
from phoneme_moe.reproductions import EXPERIMENTS
from phoneme_moe.reproductions.results import markdown
from phoneme_moe.reproductions.runner import reproduce

RESULTS = Path(__file__).parent / "results" / "reproduction"
DOCS = Path(__file__).parent.parent / "docs"

OPTIONAL_ROWS = ("boosted trees, XGBoost",)
"""Rows that are there only where another library is installed."""

HEAD = """# Reproduction

Published figures of the founding experiments of mixtures of experts beside ours. Written by
`python -m benchmarks.reproduction` from `benchmarks/results/reproduction/`; each experiment runs
from the command line as `phoneme-moe reproduce NAME`. A finding that was not found here stands as
a **no**.
"""


def main() -> None:
    """Does what is missing and writes the page."""
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


def kept_results(name: str) -> dict[str, Any]:
    """What is kept of an experiment's full form."""
    file = RESULTS / name / "results.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))


def form(data: Mapping[str, Any]) -> dict[str, Any]:
    """What of results does not hang on their numbers: figures, and columns and rows of tables."""
    return {
        "figures": data["figures"],
        **{
            table["name"]: {
                "title": table["title"],
                "columns": table["columns"],
                "rows": [row[0] for row in table["rows"] if row[0] not in OPTIONAL_ROWS],
            }
            for table in data["tables"]
        },
    }


def compare(folder: Path) -> int:
    """Holds the quick results in a folder against the kept ones.

    Returns:
        How many experiments have another form, or none at all; each is named on standard error.
    """
    wrong = 0
    for quick in sorted(folder.glob("*-quick/results.json")):
        data = json.loads(quick.read_text(encoding="utf-8"))
        kept = form(kept_results(data["name"]))
        for part, found in form(data).items():
            if found != kept.get(part):
                wrong += 1
                message = f"found {found}, expected {kept.get(part)} as in the kept results"
                print(f"{quick}: {part}: {message}", file=sys.stderr)
    return wrong


def write_page(path: Path = DOCS / "reproduction.md") -> None:
    """Writes docs/reproduction.md, or another file, from the results that are kept."""
    parts = [HEAD]
    for name in EXPERIMENTS:
        kept = RESULTS / name / "results.json"
        if kept.is_file():
            parts.append(markdown(json.loads(kept.read_text(encoding="utf-8")), "images/"))
    write_text(path, "\n".join(parts))


if __name__ == "__main__":
    main()
