"""A list in four shards, one of them killed and taken up again: speed, memory, nothing lost.

``python -m benchmarks.shards`` writes a section of docs/scale.md; ``--quick`` has few files and
keeps nothing. Recordings are links to those of FSDD (``PHONEME_MOE_CORPORA``). The model is a tiny
one, so that what is measured is everything around it; ``--real-run`` on longer recordings gives the
speed of a real one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import results
from phoneme_moe.files.writing import write_text
from phoneme_moe.transcription.file_list import Shard, files_of_shard
from phoneme_moe.transcription.merge import compare_with_list
from phoneme_moe.transcription.shard import ShardDocument
from phoneme_moe.transcription.writers.list_folder import ListFolder

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scale.md"
TINY = ROOT / "tests" / "fixtures" / "runs_0_1_0" / "gate"
CORPORA = Path(os.environ.get("PHONEME_MOE_CORPORA", ROOT.parent / "shared" / "corpora"))

SHARDS = 4
KILLED = Shard(2, SHARDS)
DAMAGED = 10
"""Number of files that are no audio."""

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # Freed memory stays with the process: returning it costs page faults.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
}
SECONDS_BETWEEN_LOOKS = 1.0


def make_list(folder: Path, sources: Sequence[Path], number: int) -> Path:
    """Links with equal names in many folders, and some damaged files; returns their list."""
    paths = []
    for index in range(number):
        copy, place = divmod(index, len(sources))
        path = folder / "recordings" / f"take {copy:03}" / sources[place].name
        path.parent.mkdir(parents=True, exist_ok=True)
        if index % (number // DAMAGED) == 0:
            path.write_bytes(b"RIFF")
        else:
            path.symlink_to(sources[place])
        paths.append(path)
    listed = folder / "list"
    listed.write_text("".join(f"{path}\n" for path in paths))
    return listed


@dataclass
class Running:
    """A process that transcribes a shard.

    Attributes:
        shard: Its shard.
        process: The process.
        files: Its recordings.
        looks: Recordings done, and memory in MB, look after look.
    """

    shard: Shard
    process: subprocess.Popen[bytes]
    files: list[str]
    looks: list[tuple[int, float]] = field(default_factory=list)

    def look(self, folder: ListFolder) -> None:
        """Notes how far it is, and its memory."""
        done = self.looks[-1][0] if self.looks else 0
        while done < len(self.files) and folder.is_done(self.files[done], [".json"]):
            done += 1
        status = Path(f"/proc/{self.process.pid}/status")
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            self.looks.append((done, int(fields["VmRSS"].split()[0]) / 1024))
        except (OSError, KeyError):  # it has ended
            return


def begin(run: Path, listed: Path, folder: ListFolder, shard: Shard) -> Running:
    """Starts the process of a shard."""
    command = [
        sys.executable, "-m", "phoneme_moe", "transcribe", str(run), "--files-from", str(listed),
        "--shard", f"{shard.index}/{shard.number}", "--out", str(folder.folder), "--skip-done",
        "--threads", "1", "--device", "cpu",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=(folder.folder.parent / f"{shard.name}.err").open("ab"),
    )
    lines = listed.read_text().splitlines()
    damaged = {line for line in lines if Path(line).stat().st_size == len(b"RIFF")}
    return Running(shard, process, [f for f in files_of_shard(lines, shard) if f not in damaged])


def transcripts(folder: ListFolder) -> dict[str, int]:
    """Time of the last change of every transcript, in ns."""
    return {
        name: (folder.transcripts / f"{name}.json").stat().st_mtime_ns
        for name in folder.names(".json")
    }


def measure(run: Path, listed: Path, folder: ListFolder) -> dict[str, Any]:
    """Transcribes all shards, kills one at a third and takes it up again; checks the result."""
    began = time.monotonic()
    running = [begin(run, listed, folder, Shard(i + 1, SHARDS)) for i in range(SHARDS)]
    survivors = [one for one in running if one.shard != KILLED]
    (victim,) = (one for one in running if one.shard == KILLED)
    while not victim.looks or victim.looks[-1][0] < len(victim.files) // 3:
        assert victim.process.poll() is None
        time.sleep(SECONDS_BETWEEN_LOOKS / 10)
        for one in running:
            one.look(folder)
    victim.process.kill()
    victim.process.wait()
    before = transcripts(folder)
    of_victim = set(files_of_shard(listed.read_text().splitlines(), KILLED))
    left = sum(path.name.startswith(".") for path in folder.transcripts.rglob(".*"))
    print(f"killed: {victim.looks[-1]}, {left} temporary files", flush=True)
    again = begin(run, listed, folder, KILLED)
    running = [*survivors, again]
    while any(one.process.poll() is None for one in running):
        time.sleep(SECONDS_BETWEEN_LOOKS)
        for one in running:
            one.look(folder)
    seconds = time.monotonic() - began
    after = transcripts(folder)
    totals = [ShardDocument.read(folder.totals_file(Shard(i + 1, SHARDS))) for i in range(SHARDS)]
    difference = compare_with_list(folder, listed.read_text().splitlines())
    resumed = totals[KILLED.index - 1]
    whole = [document for document in totals if document is not resumed]
    return {
        "files": difference.num_listed,
        "transcribed": len(after),
        "failed": sum(document.failed for document in totals),
        "missing": len(difference.missing),
        "rewritten": sum(after[name] != changed for name, changed in before.items()),
        "done_before_kill": resumed.already_done,
        "done_after_kill": resumed.transcribed,
        "files_of_killed": len(of_victim),
        "temporary_left": sum(1 for _ in folder.transcripts.rglob(".*")),
        "exit_codes": [one.process.returncode for one in running],
        "seconds": seconds,
        "audio_hours": sum(document.audio_hours for document in whole),
        "core_hours": sum(document.core_hours or 0 for document in whole),
        "memory_mb": [memory_over(one) for one in survivors],
    }


def memory_over(one: Running) -> list[float]:
    """Memory of a process when it has done 10, 50 and 100 % of its recordings, and the most."""
    shares = (0.1, 0.5, 1.0)
    at = [
        min(one.looks, key=lambda look: abs(look[0] - share * len(one.files)))[1]
        for share in shares
    ]
    return [*at, max(memory for _, memory in one.looks)]


def merge(folder: ListFolder, listed: Path) -> dict[str, Any]:
    """Joins the transcripts in another process: seconds, memory, rows."""
    out = folder.folder.parent / "all.parquet"
    program = (
        "from phoneme_moe.cli import app\n"
        "app(standalone_mode=False)\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) / 1024)"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, "merge", str(folder.folder), "--out", str(out),
         "--files-from", str(listed)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    rows = pq.read_table(out, columns=["file"]).column("file").to_pylist()
    return {
        "seconds": time.monotonic() - began,
        "memory_mb": float(done.stdout.splitlines()[-1]),
        "rows": len(rows),
        "different": len(set(rows)),
        "bytes": out.stat().st_size,
    }


def real(run: str, sources: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Hours per core-hour of a real model on real utterances, in one process of one thread."""
    listed = folder / "real"
    listed.write_text("".join(f"{path}\n" for path in sources))
    output = ListFolder(folder / "real_out")
    subprocess.run(
        [sys.executable, "-m", "phoneme_moe", "transcribe", run, "--files-from", str(listed),
         "--out", str(output.folder), "--threads", "1", "--device", "cpu"],
        check=True, env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    totals = ShardDocument.read(output.totals_file(Shard()))
    return {"run": run, **totals.model_dump()}


def section(figures: dict[str, Any]) -> str:
    """Markdown for docs/scale.md."""
    memory = figures["memory_mb"]
    first, half, end, most = (max(row[i] for row in memory) for i in range(4))
    change = max(abs(row[2] - row[0]) for row in memory)
    merged, real = figures["merge"], figures["real"]
    per_core = figures["audio_hours"] / max(figures["core_hours"], 1e-9)
    seconds_per_file = 3600 * figures["core_hours"] / (figures["transcribed"] * 0.75)
    return (
        f"`python -m benchmarks.shards` on {figures['machine']}, with other programs running: "
        f"{figures['files']:,} recordings of FSDD (0.4 s each; links of equal names in many "
        f"folders, {DAMAGED} of them damaged), {SHARDS} processes of one thread, a tiny model. One "
        f"process was killed (`-9`) after a third of its recordings and started again.\n\n"
        "| | |\n| --- | ---: |\n"
        f"| recordings; transcribed; failed | {figures['files']:,}; {figures['transcribed']:,}; "
        f"{figures['failed']} |\n"
        f"| missing; transcripts that were written twice; temporary files left | "
        f"{figures['missing']}; {figures['rewritten']}; {figures['temporary_left']} |\n"
        f"| the killed shard: done before, after | {figures['done_before_kill']:,}, "
        f"{figures['done_after_kill']:,} |\n"
        f"| minutes by the clock | {figures['seconds'] / 60:.1f} |\n"
        f"| processor time per recording, ms | {1000 * seconds_per_file:.1f} |\n"
        f"| hours of audio per core-hour, recordings of 0.4 s | {per_core:,.0f} |\n"
        f"| memory of a process after 10, 50, 100 % of its recordings; most, MB | "
        f"{first:.0f}, {half:.0f}, {end:.0f}; {most:.0f} |\n"
        f"| largest change of a process's memory from 10 % to the end, MB | {change:.0f} |\n"
        f"| `merge`: rows; seconds; memory, MB; size, MB | {merged['rows']:,}; "
        f"{merged['seconds']:.0f}; {merged['memory_mb']:.0f}; {merged['bytes'] / 1e6:.1f} |\n\n"
        f"`{real['run']}` on {real['files']:,} recordings of LibriSpeech "
        f"({real['audio_hours']:.1f} hours), one process of one thread: "
        f"{real['audio_hours_per_core_hour']:,.0f} hours of audio per core-hour, start included; "
        f"10,000 hours take {10_000 / real['audio_hours_per_core_hour']:,.0f} core-hours.\n"
    )


def text() -> str:
    """The page with its section from the kept figures."""
    return results.with_section(PAGE, "shards", section(results.read("shards")))


def check(figures: dict[str, Any]) -> None:
    """Fails unless every recording was done once."""
    assert figures["missing"] == figures["rewritten"] == figures["temporary_left"] == 0, figures
    assert figures["transcribed"] + figures["failed"] == figures["files"], figures
    assert figures["failed"] == DAMAGED, figures
    merged = figures["merge"]
    assert merged["rows"] == merged["different"] == figures["files"], figures


def main() -> None:
    """Measures, checks, and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few files, nothing kept")
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--run", type=Path, default=TINY)
    parser.add_argument("--real-run", default="english")
    arguments = parser.parse_args()
    number = 2_000 if arguments.quick else arguments.files
    digits = sorted((CORPORA / "fsdd").rglob("*.wav"))
    sentences = sorted((CORPORA / "librispeech").rglob("*.opus"))
    if not digits or not sentences:
        sys.exit(f"{CORPORA}: expected the corpora fsdd and librispeech (PHONEME_MOE_CORPORA)")
    with tempfile.TemporaryDirectory() as made:
        folder = ListFolder(Path(made, "out"))
        listed = make_list(Path(made), digits, number)
        figures = {"machine": results.machine(), **measure(arguments.run, listed, folder)}
        figures["merge"] = merge(folder, listed)
        print(json.dumps(figures), flush=True)
        check(figures)
        chosen = sentences[:: max(1, len(sentences) // (40 if arguments.quick else 500))]
        figures["real"] = real(arguments.real_run, chosen, Path(made))
    print(section(figures))
    if not arguments.quick:
        results.keep("shards", figures)
        write_text(PAGE, text())


if __name__ == "__main__":
    main()
