"""Writes docs/reliability.md: cases with answers before and after, figures of fuzzing and kills.

``python -m benchmarks.reliability --cases before|after [--package DIR]`` runs the cases with a
package and keeps the answers; without arguments the page is written from what is kept.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.reliability_cases import CASES, Case, make_inputs
from phoneme_moe.files.writing import write_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- begin {} -->", "<!-- end {} -->"


def answer(case: Case, package: Path = ROOT) -> tuple[int, str]:
    """Runs a case in a new folder.

    Args:
        case: The case.
        package: Folder that contains the package.

    Returns:
        The exit status; standard output, then standard error.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        make_inputs(folder)
        case.build(folder)
        environment = os.environ | {"PYTHONPATH": str(package), "COLUMNS": "200"}
        environment.pop("PHONEME_MOE_DATA", None)
        process = subprocess.run(
            [*case.prefix, sys.executable, "-m", "phoneme_moe", *case.argv],
            cwd=folder,
            env=environment | dict(case.environment),
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        if (folder / "canary").exists():
            return process.returncode, "THE COMMAND WAS RUN"
        text = (process.stdout + process.stderr).decode(errors="backslashreplace")
        return process.returncode, text.replace(f"{folder}/", "")


def run_cases(package: Path) -> list[dict[str, Any]]:
    """Status and the line to show of every case."""
    rows = []
    for case in CASES:
        status, text = answer(case, package)
        # Without the frames of boxes.
        lines = [line for line in text.splitlines() if any(map(str.isalnum, line))]
        shown = case.shown if "Traceback" not in text and status == case.status else -1
        line = lines[shown if -len(lines) <= shown < len(lines) else -1] if lines else ""
        line = " ".join(line.strip("│ ").split())
        rows.append({"case": case.what, "status": status, "line": line})
        print(f"{case.kind:>2} {status} {case.what}: {line}", flush=True)
    return rows


def _cell(row: dict[str, Any]) -> str:
    line = row["line"].removeprefix("phoneme-moe: ").replace("|", "\\|").replace("`", "'")
    line = line if len(line) <= 120 else f"{line[:117]}..."
    status = "" if row["status"] == 0 else f" (exit {row['status']})"
    return f"`{line}`{status}" if line else f"nothing{status}"


def cases_table(kept: dict[str, Any]) -> str:
    """The cases with their answers."""
    lines = ["| | input | before | after |", "| --- | --- | --- | --- |"]
    for case, before, after in zip(CASES, kept["before"], kept["after"], strict=True):
        lines.append(f"| {case.kind} | {case.what} | {_cell(before)} | {_cell(after)} |")
    return "\n".join(lines)


def fuzz_table(kept: dict[str, Any]) -> str:
    """The figures of ``python -m tests.fuzz``."""
    columns = ["cases", "commands", "refused", "tracebacks", "hangs", "crashes", "over_1_gb"]
    columns += ["other", "slowest_cpu_seconds", "largest_mb"]
    heads = " | ".join(name.replace("_", " ") for name in columns)
    lines = [f"| kind | {heads} |", f"| --- |{' ---: |' * len(columns)}"]
    for kind, figures in kept.items():
        lines.append(f"| {kind} | {' | '.join(f'{figures[name]:,}' for name in columns)} |")
    return "\n".join(lines)


def crash_table(kept: dict[str, Any]) -> str:
    """The figures of ``python -m tests.crash``."""
    columns: list[str] = []
    for figures in kept.values():
        columns += [name for name in figures if name not in columns]
    lines = [f"| command | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for command, figures in kept.items():
        cells = " | ".join(str(figures.get(name, "")) for name in columns)
        lines.append(f"| {command} | {cells} |")
    return "\n".join(lines)


TABLES = {"cases": cases_table, "fuzz": fuzz_table, "crash": crash_table}


def text() -> str:
    """The page with its tables from the kept figures."""
    page = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        kept = results.read(f"reliability_{name}")
        if kept and (name != "cases" or len(kept) == 2):
            before, _, rest = page.partition(BEGIN.format(name))
            _, _, after = rest.partition(END.format(name))
            page = f"{before}{BEGIN.format(name)}\n{table(kept)}\n{END.format(name)}{after}"
    return page


def main() -> None:
    """Runs the cases with ``--cases``, and writes the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--cases", choices=("before", "after"), help="run the cases")
    parser.add_argument("--package", type=Path, default=ROOT, help="folder of the package")
    options = parser.parse_args()
    if options.cases:
        rows = run_cases(options.package)
        results.keep("reliability_cases", results.read("reliability_cases") | {options.cases: rows})
    write_text(PAGE, text())


if __name__ == "__main__":
    main()
