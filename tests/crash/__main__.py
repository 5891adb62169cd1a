"""``python -m tests.crash [COMMAND ...] --moments N --seed S``: every command ended at any moment.

With all commands, ``--json benchmarks/results/reliability_crash.json`` keeps the figures of
docs/reliability.md. The exit status is 1 if anything that looks finished is not, or going on gives
other bytes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.crash.cases import COMMANDS, cases, make_inputs
from tests.crash.harness import Findings, crash
from tests.fuzz.harness import warm_up


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("commands", nargs="*", help=f"of {', '.join(COMMANDS)}; all by default")
    parser.add_argument("--moments", type=int, default=20, help="number of kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def main() -> None:
    """Runs the commands and prints a table."""
    options = _parse()
    unknown = sorted(set(options.commands) - set(COMMANDS))
    if unknown:
        sys.exit(f"unknown command {unknown[0]!r}; known: {', '.join(COMMANDS)}")
    warm_up()
    for name in ("matplotlib.figure", "bokeh.embed", "onnxruntime.quantization", "tensorboard"):
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    figures: dict[str, object] = {}
    num_problems = 0
    with tempfile.TemporaryDirectory(prefix="crash-") as made:
        root = Path(made).resolve()
        make_inputs(root)
        for name, case in cases(root).items():
            if options.commands and name not in options.commands:
                continue
            began = time.monotonic()
            findings = crash(case, root, options.moments, options.seed)
            figures[name] = _figures(findings)
            num_problems += len(findings.problems)
            ended = ", ".join(f"{count} {kind}" for kind, count in findings.ended.items())
            print(
                f"{name}: {findings.events} events; {ended}: {len(findings.problems)} problems "
                f"({time.monotonic() - began:.0f} s)",
                flush=True,
            )
            for how, problem in findings.problems:
                print(f"  {how}: {problem}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    sys.exit(num_problems > 0)


def _figures(findings: Findings) -> dict[str, object]:
    return {
        "events": findings.events,
        **findings.ended,
        "problems": len(findings.problems),
    }


if __name__ == "__main__":
    main()
