"""Memory and time of the routing report for corpora of 1 to 100 hours, on synthetic routing.

``python -m benchmarks.routing_scale [--quick]``. Utterances of 5 s, top-2 of 64 experts, 125
speakers, 40 phonemes; each part in a separate process, so that its memory is measured alone. No
model is run: this is the cost of a report after the forward pass.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import page, results
from benchmarks.results import table
from phoneme_moe.report.collect.parquet import RoutingParquet
from phoneme_moe.report.collect.table import UtteranceRouting

EXPERTS = tuple(f"expert_{i}" for i in range(64))
PHONEMES = tuple(f"phoneme_{i}" for i in range(40))
SPEAKERS = 125
FRAMES = 500
"""Of an utterance, 10 ms each."""
FRAMES_PER_HOUR = 360_000
DISTINCT = 256
"""Distinct utterances; the others are copies under other names."""
HOURS = (1.0, 10.0, 100.0)
REPORT_UTTERANCES = 5_000
MOST_MEMORY_MB = 4096
MOST_REPORT_SECONDS = 120


def make_utterance(random: np.random.Generator) -> UtteranceRouting:
    """Top-2 routing that depends on the phoneme; a fifth of the phones is silence."""
    length = 10
    phones = random.integers(0, len(PHONEMES), FRAMES // length)
    phones[random.random(len(phones)) < 0.2] = -1
    phoneme = np.repeat(phones, length)
    scores = random.gumbel(size=(FRAMES, len(EXPERTS)))
    scores[np.arange(FRAMES), phoneme] += 3.0
    chosen = np.argpartition(-scores, 2, axis=1)[:, :2]
    first = random.uniform(0.5, 1.0, FRAMES).astype(np.float32)
    weights = np.zeros((FRAMES, len(EXPERTS)), dtype=np.float32)
    np.put_along_axis(weights, chosen, np.stack([first, 1 - first], axis=1), axis=1)
    edge = np.isin(np.arange(FRAMES) % length, (0, length - 1))
    return UtteranceRouting(
        utterance="",
        speaker="",
        frame_seconds=0.01,
        weights=weights,
        phoneme=phoneme,
        edge=edge & (phoneme >= 0),
        judged=phoneme >= 0,
        right=(random.random(FRAMES) < 0.8) & (phoneme >= 0),
    )


def routing(distinct: list[UtteranceRouting], number: int) -> Iterator[UtteranceRouting]:
    """``number`` utterances, copies of the distinct ones in turn."""
    for i in range(number):
        speaker = f"speaker_{i % SPEAKERS:03}"
        yield replace(distinct[i % len(distinct)], utterance=f"{speaker}-{i:06}", speaker=speaker)


def memory_mb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Stopwatch:
    """Time and memory of consecutive stages."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        """Runs a stage; memory is the peak of the process until its end."""
        began, busy = time.perf_counter(), time.process_time()
        result = work()
        self.stages[name] = {
            "seconds": time.perf_counter() - began,
            "processor_seconds": time.process_time() - busy,
            "memory_mb": memory_mb(),
        }
        return result


def stream(utterances: Iterator[UtteranceRouting], path: Path, part: str) -> Any:
    """Writes ``routing.parquet`` and sums the routing, as the part says; the sums, or None."""
    from phoneme_moe.report.routing_sums import RoutingAccumulator

    accumulator = RoutingAccumulator(EXPERTS, PHONEMES)
    with ExitStack() as stack:
        consumers: list[Callable[[UtteranceRouting], None]] = []
        if part in ("table", "report"):
            file = stack.enter_context(RoutingParquet(path, EXPERTS, PHONEMES, "layer"))
            consumers.append(file.add)
        if part in ("sums", "report"):
            consumers.append(accumulator.add)
        for utterance in utterances:
            for consume in consumers:
                consume(utterance)
    return accumulator.finish() if accumulator.add in consumers else None


def measure(part: str, number: int, folder: Path) -> dict[str, Any]:
    """One part, in this process.

    Args:
        part: ``made`` (only the utterances), ``table``, ``sums``, or ``report``: all, and the
            page.
        number: Utterances.
        folder: For the files.
    """
    from phoneme_moe.report.specialisation import specialise
    from phoneme_moe.report.statistics import summarize

    random = np.random.default_rng(0)
    distinct = [make_utterance(random) for _ in range(min(DISTINCT, number))]
    watch, path = Stopwatch(), folder / "routing.parquet"
    accumulated = watch.time("stream", lambda: stream(routing(distinct, number), path, part))
    if accumulated is not None:
        report = watch.time("means", lambda: summarize(accumulated))
    if part == "report":
        specialisation = watch.time("specialise", lambda: specialise(accumulated))
        watch.time("page", lambda: write_page(report, specialisation, folder))
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    return {"utterances": number, "stages": watch.stages, "files": files}


def write_page(report: Any, specialisation: Any, folder: Path) -> None:
    """The document of the statistics, as JSON, page and figures."""
    from phoneme_moe.report.build_document import build_document
    from phoneme_moe.report.document_parts import Cost
    from phoneme_moe.report.expert_ablation import Ablations
    from phoneme_moe.report.files import write_report
    from phoneme_moe.report.verdict import verdict

    cost = Cost(
        parameters=0,
        active_parameters=0,
        multiply_adds_per_frame=0,
        frame_ms=10.0,
        weight_bytes=0,
    )
    document = build_document(
        report,
        specialisation,
        Ablations(0.0),
        cost,
        title="Synthetic routing",
        facts={"recipe": "none"},
    )
    sentences = verdict(report, document)
    write_report(report, document.model_copy(update={"verdict": sentences}), folder)


def in_a_process(part: str, number: int) -> dict[str, Any]:
    """``measure`` in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.routing_scale"]
        command += ["--part", part, "--utterances", str(number), "--folder", folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for name, stage in figures["stages"].items():
        print(
            f"{part}, {number:,} utterances, {name}: {stage['seconds']:.1f} s, "
            f"{stage['memory_mb']:,.0f} MB",
            flush=True,
        )
    return figures


def section(figures: dict[str, Any]) -> str:
    """The Markdown section of docs/benchmarks.md."""
    rows = []
    for hours, parts in figures["hours"].items():
        frames = parts["table"]["utterances"] * FRAMES
        for part, name, label in (
            ("table", "stream", "`routing.parquet`"),
            ("sums", "stream", "sums"),
            ("report", "stream", "both in one pass"),
            ("report", "specialise", "tests, intervals, clustering"),
            ("report", "page", "page, figures, JSON"),
        ):
            stage = parts[part]["stages"][name]
            streams = name == "stream"
            rows.append(
                [
                    label,
                    f"{float(hours):g}",
                    f"{stage['seconds']:.1f}",
                    f"{stage['processor_seconds']:.1f}",
                    f"{frames / stage['processor_seconds'] / 1e6:.2f}" if streams else "",
                    f"{stage['memory_mb']:,.0f}",
                    f"{parts['table']['files']['routing.parquet'] / 1e6:,.0f}"
                    if part == "table"
                    else "",
                ]
            )
    head = [
        "",
        "hours",
        "seconds",
        "CPU seconds",
        "million frames per CPU second",
        "peak memory, MB",
        "file, MB",
    ]
    return (
        "## The routing report at scale\n\n"
        f"`python -m benchmarks.routing_scale` ({figures['machine']}). Synthetic routing, "
        f"{FRAMES_PER_HOUR:,} frames per hour, top-2 of {len(EXPERTS)} experts, {SPEAKERS} "
        f"speakers, {len(PHONEMES)} phonemes,\nutterances of {FRAMES} frames; no model "
        "is run. Memory is the peak of the process until the end of the stage\n"
        f"({figures['made_mb']:,.0f} MB of it before the first frame: Python and the "
        f"{DISTINCT} distinct utterances).\n\n"
        + table(head, rows)
        + "\n"
        + "".join(f"- {line}\n" for line in _targets(figures))
    )


def _targets(figures: dict[str, Any]) -> list[str]:
    """Targets, and whether they are met."""

    def state(target: str, value: str, met: bool) -> str:
        return f"{target}: {value}, {'met' if met else '**not met**'}."

    hours = list(figures["hours"])
    longest = figures["hours"][hours[-1]]
    most = max(stage["memory_mb"] for part in longest.values() for stage in part["stages"].values())
    lines = [
        state(
            f"{float(hours[-1]):g} hours in under {MOST_MEMORY_MB:,} MB",
            f"{most:,.0f} MB",
            most < MOST_MEMORY_MB,
        )
    ]
    if len(hours) > 1:
        shorter = figures["hours"][hours[-2]]
        growth = float(hours[-1]) / float(hours[-2])
        for part, name in (("table", "`routing.parquet`"), ("sums", "sums")):
            times = [of[part]["stages"]["stream"]["processor_seconds"] for of in (shorter, longest)]
            ratio = times[1] / times[0]
            lines.append(
                state(
                    f"{name}, {growth:g} times the frames in at most {1.1 * growth:g} times the "
                    "CPU "
                    "time",
                    f"{ratio:.1f}",
                    ratio <= 1.1 * growth,
                )
            )
    report = figures["report"]
    seconds = sum(stage["seconds"] for stage in report["stages"].values())
    lines.append(
        state(
            f"A report of {report['utterances']:,} utterances in under {MOST_REPORT_SECONDS} s "
            "after the forward pass",
            f"{seconds:.0f} s ("
            + ", ".join(f"{name} {s['seconds']:.1f}" for name, s in report["stages"].items())
            + ")",
            seconds < MOST_REPORT_SECONDS,
        )
    )
    return lines


def main() -> None:
    """Measures, prints the section, keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="minutes of speech, nothing kept")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--utterances", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(measure(arguments.part, arguments.utterances, arguments.folder)))
        return
    hours = (0.1, 0.2) if arguments.quick else HOURS
    figures: dict[str, Any] = {"hours": {}}
    figures["made_mb"] = in_a_process("made", DISTINCT)["stages"]["stream"]["memory_mb"]
    for amount in hours:
        number = round(amount * FRAMES_PER_HOUR / FRAMES)
        figures["hours"][f"{amount:g}"] = {
            part: in_a_process(part, number) for part in ("table", "sums", "report")
        }
    figures["report"] = in_a_process("report", 100 if arguments.quick else REPORT_UTTERANCES)
    figures["machine"] = results.machine()
    print(section(figures))
    if not arguments.quick:
        results.keep("routing_scale", figures)
        page.write()


if __name__ == "__main__":
    main()
