"""Training from shards: memory however long the corpus is, and speed beside training from memory.

``python -m benchmarks.stream`` writes a section of docs/scale.md; ``--quick`` measures one hour and
keeps nothing. Trainings are those of a user, through the command line. Long corpora repeat the
shards of LibriSpeech's small part, as links.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.results import table
from phoneme_moe.corpora import data_root, load_corpus, prepare_corpus
from phoneme_moe.corpora.prepared import cuts_file
from phoneme_moe.corpora.shards import ShardsDocument, manifest_hash, shards_folder, write_shards
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.files.writing import write_json, write_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scale.md"
CORPORA = Path(os.environ.get("PHONEME_MOE_CORPORA", ROOT.parent / "shared" / "corpora"))

RECIPE = "dense"
SOURCE = "librispeech"
SHARDS = 8
REPORTS = 3
"""Number of reports, one a minute, after which a training has shown its memory."""

WAYS = {
    "in memory": [],
    "streamed, one worker": ["training.stream.workers=1"],
    "streamed, no worker": ["training.stream.workers=0"],
}


def make_long_corpus(hours: float) -> str:
    """Repeats a corpus and its shards; returns the name."""
    name = f"{SOURCE}-{hours:g}-hours"
    source = load_corpus(SOURCE)
    folder = data_root() / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "shards" / "train").mkdir(parents=True)
    times = math.ceil(3600 * hours / source.seconds("train"))
    for split in ("dev", "test"):
        shutil.copy(cuts_file(source.folder, split), folder)
    with (
        gzip.open(cuts_file(source.folder, "train")) as original,
        gzip.open(cuts_file(folder, "train"), "wb", compresslevel=1) as repeated,
    ):
        lines = original.read()
        for _ in range(times):
            repeated.write(lines)
    description = json.loads((source.folder / "corpus.json").read_text(encoding="utf-8"))
    description["name"] = name
    for count in ("utterances", "seconds", "phonemes"):
        description["splits"]["train"][count] *= times
    write_json(folder / "corpus.json", description)
    for number in range(times * SHARDS):
        for file in ("cuts.{:06d}.jsonl.gz", "recording.{:06d}.tar"):
            target = shards_folder(source) / "train" / file.format(number % SHARDS)
            (folder / "shards" / "train" / file.format(number)).hardlink_to(target)
    document = ShardsDocument.read(shards_folder(source) / "shards.json")
    repeated_document = document.model_copy(
        update={"utterances": document.utterances * times, "cuts": manifest_hash(folder)}
    )
    write_json(folder / "shards" / "shards.json", repeated_document.model_dump())
    return name


def command(corpus: str, out: Path, epochs: int, changes: Sequence[str]) -> list[str]:
    """A training on the CPU."""
    settings = [f"corpus.name={corpus}", f"training.stages.joint.epochs={epochs}", *changes]
    words = ["train", RECIPE, "--out", str(out), "--device", "cpu"]
    words += [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", "phoneme_moe", *words]


def anonymous_memory(root: int) -> int:
    """Kilobytes of a process and of those that it started, without files that are mapped.

    What processes share is divided among them (proportional set size).
    """
    parents, memory = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = re.search(r"^PPid:\s+(\d+)", (folder / "status").read_text(), re.MULTILINE)
            shares = (folder / "smaps_rollup").read_text()
        except OSError:  # it has ended, or is the system's
            continue
        anonymous = re.search(r"^Pss_Anon:\s+(\d+)", shares, re.MULTILINE)
        if parent and anonymous:
            parents[int(folder.name)] = int(parent[1])
            memory[int(folder.name)] = int(anonymous[1])
    family = {root}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(memory.get(process, 0) for process in family)


def measure_memory(corpus: str, folder: Path) -> dict[str, float]:
    """Most memory of a training, its worker included, until it has reported a few times."""
    changes = [
        "training.stream.workers=1",
        "training.stream.batch_seconds=60",
        "training.timing=null",
    ]
    most, began, first = 0, time.monotonic(), 0.0
    log = folder / f"{corpus}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command(corpus, folder / corpus, 2, changes),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        ) as process,
    ):
        while process.poll() is None:
            most = max(most, anonymous_memory(process.pid))
            reports = log.read_text(encoding="utf-8").count("loss")
            first = first or (time.monotonic() - began if reports else 0.0)
            if reports >= REPORTS:
                process.terminate()
            time.sleep(0.5)
    shutil.rmtree(folder / corpus, ignore_errors=True)
    if not first:
        raise RuntimeError(log.read_text(encoding="utf-8"))
    return {"gigabytes": most / 1024**2, "first_report": first}


def measure_speed(way: str, folder: Path, epochs: int) -> float:
    """Frames per second of a training: of the fastest epoch but the first.

    It is stopped after its last epoch, since what follows is the same in all ways.
    """
    out = folder / way.replace(" ", "_").replace(",", "")
    seconds = out / "seconds.csv"
    with subprocess.Popen(
        command("speechocean762", out, epochs + 1, [*WAYS[way], "training.timing=null"]),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            if seconds.exists() and len(read_rows(seconds)) >= epochs:
                process.terminate()
            time.sleep(0.5)
    measured = [float(row["seconds"]) for row in read_rows(seconds)][1:epochs]
    shutil.rmtree(out)
    return load_corpus("speechocean762").seconds("train") * 100 / min(measured)


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures."""
    text = (
        f"`python -m benchmarks.stream` ({figures['machine']}). Memory of a training of `{RECIPE}` "
        f"(80 bands) and its worker, without mapped files, in its first {REPORTS} minutes of "
        "steps; LibriSpeech's small part, repeated:\n\n"
    )
    rows = [
        [hours, f"{m['gigabytes']:.2f}", f"{m['first_report'] / 60 - 1:.1f}"]
        for hours, m in sorted(figures["memory"].items(), key=lambda row: float(row[0]))
    ]
    text += table(["hours", "GB", "minutes before the first step"], rows)
    if not figures["speed"]:
        return text
    base = figures["speed"]["in memory"]
    rows = []
    for way, speeds in figures["speed"].items():
        ratios = [speed / other for speed, other in zip(speeds, base, strict=True)]
        rows.append([way, f"{statistics.median(speeds):,.0f}", f"{statistics.median(ratios):.2f}"])
    text += (
        f"\nFrames per second on speechocean762, one thread; medians of {len(base)} rounds, in "
        "which each is trained once:\n\n"
    )
    return text + table(["", "frames a second", "ratio"], rows)


def text() -> str:
    """The page with its section from the kept figures."""
    return results.with_section(PAGE, "stream", section(results.read("stream")))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and keeps the figures unless it is quick."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="One hour, one round.")
    parser.add_argument("--rounds", type=int, default=3, help="0 keeps earlier figures.")
    parser.add_argument("--hours", type=float, nargs="*", default=[10, 100, 1000])
    options = parser.parse_args(arguments)
    prepare_corpus("speechocean762", CORPORA / "speechocean762")
    for name in ("speechocean762", SOURCE):
        if not (shards_folder(load_corpus(name)) / "shards.json").is_file():
            write_shards(load_corpus(name), SHARDS)
    kept = results.read("stream")
    figures: dict[str, Any] = {
        "machine": results.machine(),
        "memory": kept.get("memory", {}),
        "speed": kept.get("speed", {}),
    }
    with tempfile.TemporaryDirectory() as folder:
        for hours in (1,) if options.quick else options.hours:
            corpus = make_long_corpus(hours)
            figures["memory"][f"{hours:g}"] = measure_memory(corpus, Path(folder))
            print(f"{hours:g} hours: {figures['memory'][f'{hours:g}']}", flush=True)
            shutil.rmtree(data_root() / corpus)
        rounds = 1 if options.quick else options.rounds
        if rounds:
            figures["speed"] = {way: [] for way in WAYS}
        for number in range(rounds):
            order = list(WAYS) if number % 2 == 0 else list(reversed(WAYS))
            for way in order:
                speed = measure_speed(way, Path(folder), epochs=3)
                figures["speed"][way].append(speed)
                print(f"{number + 1}/{rounds} {way}: {speed:,.0f} frames a second", flush=True)
    if options.quick:
        print(section(figures))
        return
    results.keep("stream", figures)
    write_text(PAGE, text())


if __name__ == "__main__":
    main()
