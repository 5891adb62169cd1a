"""Runs commands on mutated input and judges them: no traceback, no crash, no hang, bounded memory.

Each command runs in a forked child of a warm parent, which has imported torch and the commands, so
that thousands of commands take minutes. The limits are on processor time: a busy machine changes
nothing.
"""

from __future__ import annotations

import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

MAX_CPU_SECONDS = 10
"""A command on a small file that needs more hangs."""
MAX_WALL_SECONDS = 300
"""A command that sleeps so long waits for something that does not come."""
MAX_MEMORY_MB = 1024
"""Most memory of a command on a small file, beyond that of the imports."""
STATUSES = (0, 1, 2)
"""Exit statuses that a command may have on unusable input."""


@dataclass(frozen=True)
class Command:
    """A command on mutated input, and what must hold.

    Attributes:
        argv: Arguments of ``phoneme-moe``.
        succeeds: Whether it must succeed, or must fail; either is right if None.
        good: Parts of the output that show that the good files of the batch are done.
        stdin: What it reads from standard input.
        succeeds_after: Number of the command of the case after whose success it must succeed.
    """

    argv: Sequence[str]
    succeeds: bool | None = None
    good: Sequence[str] = ()
    stdin: bytes = b""
    succeeds_after: int | None = None


class Kind(Protocol):
    """A kind of input."""

    name: str

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """Writes the input of this number (its seed) below a folder; returns commands on it."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        status: Exit status; negative for a signal.
        out: Its standard output.
        err: Its standard error.
        cpu_seconds: Processor time.
        memory_mb: Peak memory beyond that of the imports.
        asleep: Whether it was ended because it slept.
    """

    status: int
    out: str
    err: str
    cpu_seconds: float
    memory_mb: float
    asleep: bool = False


@dataclass
class Findings:
    """The results of a kind.

    Attributes:
        commands: Number of commands.
        refused: Number of commands that ended with an error line.
        problems: The number of the case, the command and what was wrong.
    """

    commands: int = 0
    refused: int = 0
    slowest: float = 0.0
    largest_mb: float = 0.0
    problems: list[tuple[int, str, str]] = field(default_factory=list)

    def kinds(self) -> Counter[str]:
        """Number of problems by their first words."""
        return Counter(problem.split(":")[0] for _, _, problem in self.problems)


def warm_up() -> None:
    """Imports what the commands import, so that forked children need not."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in (
        "torch",
        "lightning",
        "lhotse",
        "soundfile",
        "phoneme_moe.cli",
        "phoneme_moe.pipeline",
        "phoneme_moe.report.compare.run",
        "phoneme_moe.report.clips.run",
        "phoneme_moe.training.stages",
        "phoneme_moe.corpora.folder",
        "phoneme_moe.training.adapt",
        "phoneme_moe.transcription.align",
        "phoneme_moe.transcription.onnx_engine",
        "phoneme_moe.transcription.export",
    ):
        importlib.import_module(name)


def run(command: Command, folder: Path) -> Outcome:
    """Runs a command in a forked child, in a folder."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as streams:
        stdin, out, err, start = (Path(streams, name) for name in ("in", "out", "err", "start"))
        stdin.write_bytes(command.stdin)
        child = os.fork()
        if child == 0:
            start.write_text(str(_resident_kb()))
            _become(command, folder, stdin, out, err)
        status, used, asleep = _wait(child)
        code = os.waitstatus_to_exitcode(status)
        return Outcome(
            code,
            out.read_text(errors="replace") if out.exists() else "",
            err.read_text(errors="replace") if err.exists() else "",
            used.ru_utime + used.ru_stime,
            max(0.0, (used.ru_maxrss - int(start.read_text())) / 1024),
            asleep,
        )


def _resident_kb() -> int:
    """Memory of this process; that of a forked child does not count what it has not touched."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def _become(command: Command, folder: Path, stdin: Path, out: Path, err: Path) -> None:
    """Turns the child into the command; never returns."""
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        for number, (path, flags) in enumerate(
            ((stdin, os.O_RDONLY), (out, os.O_WRONLY | os.O_CREAT), (err, os.O_WRONLY | os.O_CREAT))
        ):
            os.dup2(os.open(path, flags, 0o600), number)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(0, encoding="utf-8"),
            os.fdopen(1, "w", encoding="utf-8"),
            os.fdopen(2, "w", encoding="utf-8"),
        )
        resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS + 2))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["phoneme-moe", *command.argv]
        from phoneme_moe.cli import main

        main()
        status = 0
    except SystemExit as ended:
        code = ended.code
        status = code if isinstance(code, int) else 0 if code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    finally:
        with suppress(Exception):
            _end_workers()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(status)


def _end_workers() -> None:
    """Ends the decoders of the child, whose time and memory then count as its own."""
    from phoneme_moe.audio import worker_pool

    if worker_pool._pool is not None:
        worker_pool._pool.close()


def _wait(child: int) -> tuple[int, resource.struct_rusage, bool]:
    until, asleep, pause = time.monotonic() + MAX_WALL_SECONDS, False, 0.002
    while True:
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > until:
            asleep = True
            os.kill(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # what it may have started
    return status, used, asleep


def judge(command: Command, outcome: Outcome) -> Iterator[str]:
    """What is wrong with an outcome; nothing for a right one."""
    both = outcome.out + outcome.err
    if "Traceback (most recent call last)" in both:
        last = [line for line in outcome.err.splitlines() if line.strip()][-1:]
        yield f"traceback: {''.join(last)[:200]}"
    elif outcome.asleep:
        yield f"hang: slept for {MAX_WALL_SECONDS} s"
    elif outcome.status == -signal.SIGXCPU or outcome.cpu_seconds > MAX_CPU_SECONDS:
        yield f"hang: {outcome.cpu_seconds:.1f} s of processor time"
    elif outcome.status < 0:
        yield f"crash: signal {-outcome.status}"
    elif outcome.status not in STATUSES:
        yield f"status: {outcome.status}"
    elif outcome.status == 1 and not any(
        line.startswith("phoneme-moe: ") for line in outcome.err.splitlines()
    ):
        yield f"no error line: {outcome.err[:200]!r}"
    if outcome.memory_mb > MAX_MEMORY_MB:
        yield f"memory: {outcome.memory_mb:.0f} MB"
    if command.succeeds is not None and command.succeeds != (outcome.status == 0):
        yield f"success: status {outcome.status}, {outcome.err[-200:]!r}"
    for part in command.good:
        if part not in outcome.out:
            yield f"lost: no {part!r} in the output"


def fuzz(kind: Kind, cases: Sequence[int], keep: Path | None = None) -> Findings:
    """Builds and runs the cases of a kind.

    Args:
        kind: The kind of input.
        cases: Numbers of the cases.
        keep: Folder to which the input of every case with a problem is copied.
    """
    findings = Findings()
    for number in cases:
        with tempfile.TemporaryDirectory(prefix=f"fuzz-{kind.name}-") as made:
            folder = Path(made)
            problems = []
            statuses: list[int] = []
            for command in kind.build(folder, number):
                if command.succeeds_after is not None and not statuses[command.succeeds_after]:
                    command = replace(command, succeeds=True)
                outcome = run(command, folder)
                statuses.append(outcome.status)
                findings.commands += 1
                findings.refused += outcome.status != 0
                findings.slowest = max(findings.slowest, outcome.cpu_seconds)
                findings.largest_mb = max(findings.largest_mb, outcome.memory_mb)
                for problem in judge(command, outcome):
                    problems.append((number, " ".join(command.argv), problem))
            findings.problems += problems
            if problems and keep is not None:
                target = keep / f"{kind.name}_{number}"
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(folder, target, symlinks=True)
    return findings
