"""``python -m tests.fuzz [KIND ...] --cases N --seed S``: mutated input for every command.

Writes a table, and with ``--keep FOLDER`` the input of each case with a problem.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from tests.fuzz.harness import Findings, Kind, fuzz, warm_up

KINDS = {
    "audio": "tests.fuzz.audio:Audio",
    "textgrids": "tests.fuzz.labels:TextGrids",
    "cutsets": "tests.fuzz.cutsets:CutSets",
    "kaldi": "tests.fuzz.kaldi:Kaldi",
    "lexicons": "tests.fuzz.kaldi:Lexicons",
    "published": "tests.fuzz.published:Published",
    "recipes": "tests.fuzz.recipes:Recipes",
    "onnx": "tests.fuzz.onnx_files:Onnx",
    "runs": "tests.fuzz.runs:Runs",
    "regressions": "tests.fuzz.regressions:Regressions",
}
"""Where each kind is: ``module:class``."""


def kind_of(name: str) -> Kind:
    """The kind of a name."""
    module, _, attribute = KINDS[name].partition(":")
    kind: Kind = getattr(importlib.import_module(module), attribute)()
    return kind


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; all by default")
    parser.add_argument("--cases", type=int, default=20, help="number of cases of each kind")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", type=Path, help="folder for the input of cases with a problem")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def _figures(findings: Findings, cases: int) -> dict[str, object]:
    kinds = findings.kinds()
    return {
        "cases": cases,
        "commands": findings.commands,
        "refused": findings.refused,
        "tracebacks": kinds["traceback"],
        "hangs": kinds["hang"],
        "crashes": kinds["crash"],
        "over_1_gb": kinds["memory"],
        "other": sum(
            n for k, n in kinds.items() if k not in {"traceback", "hang", "crash", "memory"}
        ),
        "slowest_cpu_seconds": round(findings.slowest, 1),
        "largest_mb": round(findings.largest_mb),
    }


def main() -> None:
    """Runs the kinds; the exit status is 1 if there is a problem."""
    options = _parse()
    unknown = sorted(set(options.kinds) - set(KINDS))
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)} (known: {', '.join(KINDS)})")
    warm_up()
    figures, failed = {}, False
    for name in options.kinds or KINDS:
        findings = fuzz(
            kind_of(name), range(options.seed, options.seed + options.cases), options.keep
        )
        figures[name] = _figures(findings, options.cases)
        print(name, json.dumps(figures[name]), flush=True)
        for number, command, problem in findings.problems:
            print(f"  case {number}: {command}: {problem}", flush=True)
        failed |= bool(findings.problems)
    if options.json is not None:
        known = json.loads(options.json.read_text()) if options.json.is_file() else {}
        options.json.write_text(json.dumps(known | figures, indent=1) + "\n")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
