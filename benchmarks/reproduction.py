"""The published experiments done again in full, and docs/reproduction.md from their files.

``python -m benchmarks.reproduction [NAME ...]`` does the named experiments, or all; interrupt it at
will. ``--page`` writes the page from what there is.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from phoneme_moe.reproduce import EXPERIMENTS
from phoneme_moe.reproduce.files import markdown
from phoneme_moe.reproduce.runner import reproduce
from phoneme_moe.run import write_text

RESULTS = Path(__file__).parent / "results" / "reproduction"
DOCS = Path(__file__).parent.parent / "docs"

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
    arguments = parser.parse_args()
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
