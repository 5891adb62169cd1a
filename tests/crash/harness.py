"""Ends commands at chosen moments and judges what they leave, and what going on makes of it.

A moment is an event of the file system below the command's folder (a file opened for writing, a
rename, a folder made or removed), counted by an audit hook: the same on any machine. Each command
runs in a forked child of a warm parent, as in ``tests.fuzz``.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

EVENTS = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1}
"""Events that change the file system, beside opening to write; with the number of their paths."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
NOT_SAME = ("seconds.csv", "tensorboard", "last.ckpt", "best.ckpt")
"""Files and folders that are not the same each time: they hold times of day."""
UNFINISHED = ("metrics.csv", "checkpoints", "start.safetensors", "recipe.yaml", *NOT_SAME)
"""Files of a training, which change until it ends."""
SIGNALS = {"SIGTERM": 143, "SIGHUP": 129, "SIGINT": 130, "SIGINT twice": 130}
REFUSALS = {"no space": errno.ENOSPC, "no handles": errno.EMFILE, "read-only": errno.EROFS}
SIZES = (500, 4_000, 30_000, 100_000, 300_000)
"""Largest files, in bytes, that a system permits; more than an error line."""
HANDLES = (0, 1, 3, 6, 12)
"""Files that a command may open at a time, beside those that are open at its start."""


@dataclass(frozen=True)
class Case:
    """A command that writes.

    Attributes:
        name: Its name.
        argv: Arguments of ``phoneme-moe``; output goes below the current folder.
        trains: Whether it trains in place, so that its folder changes until the end.
        prepare: Copies what the command changes into its folder.
        once: Whether a finished output is not made again, but refused.
        patch: Changes the warm program in the child, to make it quick.
        environment: Variables of the environment.
    """

    name: str
    argv: Sequence[str]
    trains: bool = False
    once: bool = False
    prepare: Callable[[Path], None] = lambda folder: None
    patch: Callable[[], None] = lambda: None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """How a command is ended.

    Attributes:
        kind: ``killed``, ``signal``, ``refusal``, ``size`` or ``handles``.
        name: The signal, the error, or the limit.
        moment: Number of the event, from 1; 0 for a limit.
    """

    kind: str
    name: str
    moment: int = 0

    def __str__(self) -> str:
        return (
            f"{self.name} at event {self.moment}"
            if self.moment
            else f"{self.kind} at most {self.name}"
        )


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str
    events: int


@dataclass
class Findings:
    """The results of a command.

    Attributes:
        events: Number of events of the whole command.
        ended: Number of runs ended, by kind.
        problems: How it was ended, and what was wrong.
    """

    events: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


def run(case: Case, argv: Sequence[str], folder: Path, ending: Ending | None = None) -> Outcome:
    """Runs a command in a forked child, in a folder, to its end or that one."""
    streams = folder.with_name(f"{folder.name}.streams")
    streams.mkdir(exist_ok=True)
    paths = [streams / name for name in ("out", "err", "events")]
    for path in paths:
        path.write_text("")
    child = os.fork()
    if child == 0:
        _become(case, argv, folder, paths, ending)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # what it may have started
    out, err, events = (path.read_text(errors="replace") for path in paths)
    return Outcome(status, out, err, int(events or 0))


def _become(
    case: Case, argv: Sequence[str], folder: Path, paths: Sequence[Path], ending: Ending | None
) -> None:
    """Turns the child into the command; never returns."""
    status = 70
    events = os.open(paths[2], os.O_WRONLY)
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.update(case.environment)
        for number, path in ((1, paths[0]), (2, paths[1])):
            os.dup2(os.open(path, os.O_WRONLY), number)
        sys.stdout, sys.stderr = (
            os.fdopen(1, "w", encoding="utf-8", closefd=False),
            os.fdopen(2, "w", encoding="utf-8", closefd=False),
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        case.patch()
        sys.argv = ["phoneme-moe", *argv]
        from phoneme_moe.cli import main

        if ending is not None and ending.kind == "size":
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(ending.name), int(ending.name)))
        if ending is not None and ending.kind == "handles":
            limit = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir()) + int(ending.name)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        counter = _Counter(folder.resolve(), ending)
        sys.addaudithook(counter)
        try:
            main()
        finally:
            counter.ending = None
            os.write(events, str(counter.events).encode())
        status = 0
    except SystemExit as ended:
        code = ended.code
        status = code if isinstance(code, int) else 0 if code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(status)


@dataclass
class _Counter:
    """Counts events below a folder, and ends the process at one of them."""

    folder: Path
    ending: Ending | None
    events: int = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            paths = arguments[:1] if arguments[2] & WRITES else ()
        else:
            paths = arguments[: EVENTS.get(event, 0)]
        if not any(isinstance(path, str | bytes | os.PathLike) for path in paths):
            return
        if not any(self._is_below(path) for path in paths):
            return
        self.events += 1
        if self.ending is None or self.events < self.ending.moment or not self.ending.moment:
            return
        # A full disk does not refuse to remove anything.
        if self.ending.kind != "refusal" or event not in {"os.remove", "os.rmdir"}:
            ending, self.ending = self.ending, None
            self._end(ending)

    def _is_below(self, path: Any) -> bool:
        # Path.absolute keeps "..", which may lead out of the folder.
        absolute = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        return absolute.startswith(f"{self.folder}{os.sep}")

    def _end(self, ending: Ending) -> None:
        if ending.kind == "killed":
            os.killpg(0, signal.SIGKILL)
        elif ending.kind == "signal":
            name, _, twice = ending.name.partition(" ")
            if twice:  # while the first is being handled
                signal.setitimer(signal.ITIMER_REAL, 0)
                os.kill(os.getpid(), getattr(signal, name))
            os.kill(os.getpid(), getattr(signal, name))
        else:
            number = REFUSALS[ending.name]
            raise OSError(number, os.strerror(number))


def content(folder: Path, case: Case, finished: bool = True) -> dict[str, bytes]:
    """The visible files of a folder by relative path, without those that differ each time."""
    left_out = (*NOT_SAME, *(() if finished or not case.trains else UNFINISHED))
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(
            part in left_out or part.startswith(".") for part in relative.parts
        ):
            found[str(relative)] = path.read_bytes()
    return found


def hidden(folder: Path) -> list[str]:
    """Temporary files and folders, and locks."""
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if _is_left_behind(p.name)]


def _is_left_behind(name: str) -> bool:
    return name == ".lock" or "partial-" in name


def endings(moments: int, seed: int, events: int) -> Iterator[Ending]:
    """The ways in which a command of so many events is ended.

    Args:
        moments: Number of kills; a third as many signals and errors, a quarter as many limits.
        seed: Seed of the choice.
        events: Number of events of the command.
    """
    choice = random.Random(seed)
    pick = partial(_pick, choice, events)
    for moment in pick(moments):
        yield Ending("killed", "SIGKILL", moment)
    others = -(-moments // 3)
    for number, moment in enumerate(pick(others)):
        yield Ending("signal", list(SIGNALS)[number % len(SIGNALS)], moment)
    for number, moment in enumerate(pick(others)):
        yield Ending("refusal", list(REFUSALS)[number % len(REFUSALS)], moment)
    for kind, limits in (("size", SIZES), ("handles", HANDLES)):
        for limit in limits[: moments // 4]:
            yield Ending(kind, str(limit))


def _pick(choice: random.Random, events: int, count: int) -> list[int]:
    every = range(1, events + 1)
    return sorted(every if count >= events else choice.sample(every, count))


def go_on(case: Case, outcome: Outcome) -> list[str]:
    """The command that goes on: the printed one, else the same, which ``train`` asks to resume."""
    for line in outcome.err.splitlines():
        _, found, command = line.partition("go on with: phoneme-moe ")
        if found:
            return shlex.split(command)
    return [*case.argv, "--resume"] if case.argv[0] == "train" else list(case.argv)


def crash(case: Case, root: Path, moments: int, seed: int) -> Findings:
    """Ends a command in many ways, and compares what going on gives with an undisturbed run.

    Args:
        case: The command.
        root: A folder to work in.
        moments: See ``endings``.
        seed: See ``endings``.
    """
    findings = Findings()
    # Every trial has the same path, which some files contain.
    folder = root / "trial"
    whole = _undisturbed(case, folder, findings)
    for ending in endings(moments, seed, findings.events):
        findings.ended[ending.kind] = findings.ended.get(ending.kind, 0) + 1
        _renew(case, folder)
        outcome = run(case, case.argv, folder, ending)
        for problem in _judge(case, ending, outcome, folder, whole):
            findings.problems.append((str(ending), problem))
    shutil.rmtree(folder)
    return findings


def _renew(case: Case, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case.prepare(folder)


def _undisturbed(case: Case, folder: Path, findings: Findings) -> dict[str, bytes]:
    _renew(case, folder)
    outcome = run(case, case.argv, folder)
    assert outcome.status == 0, outcome.err
    findings.events = outcome.events
    whole = content(folder, case)
    assert whole
    for left in hidden(folder):
        findings.problems.append(("undisturbed", f"left behind: {left}"))
    return whole


def _judge(
    case: Case, ending: Ending, outcome: Outcome, folder: Path, whole: dict[str, bytes]
) -> Iterator[str]:
    """What is wrong with a command that was ended; nothing if all is right."""
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    both = outcome.out + outcome.err
    if "Traceback" in both or "Exception ignored" in both:
        yield f"traceback: {''.join(lines[-1:])[:200]}"
    if ending.kind == "killed":
        if outcome.status != -signal.SIGKILL:
            yield f"status {outcome.status} after SIGKILL"
    elif ending.kind == "signal":
        if outcome.status != SIGNALS[ending.name] or len(lines) != 1 or "go on with:" not in both:
            yield f"status {outcome.status}, lines {lines}"
    elif outcome.status == 0:
        # Nothing that was refused mattered.
        if content(folder, case) != whole:
            yield "status 0, but something is missing"
    elif outcome.status != 1 or len(lines) != 1 or not lines[0].startswith("phoneme-moe: "):
        yield f"status {outcome.status}, lines {lines}"
    if ending.kind != "killed":
        for left in hidden(folder):
            yield f"left behind: {left}"
    for name, bytes_ in content(folder, case, finished=False).items():
        if whole.get(name) != bytes_:
            yield f"{name} looks finished and is not"
    if case.once and content(folder, case) == whole:
        return
    argv = go_on(case, outcome)
    if outcome.status == 0 and ending.kind not in {"killed", "signal"}:
        return
    resumed = run(case, argv, folder)
    if resumed.status != 0:
        yield f"{' '.join(argv)}: status {resumed.status}: {resumed.err[-300:]}"
        return
    after = content(folder, case)
    for name in sorted({*whole, *after}):
        if whole.get(name) != after.get(name):
            yield f"{name} differs after going on"
    for left in hidden(folder):
        yield f"left behind after going on: {left}"
