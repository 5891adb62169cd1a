"""Waiting for other processes for as long as they get on, however busy the machine is.

A process is given up when it and all that it started sleep without using the processor, look after
look, or have used more of it than any test needs. How long that takes by the clock is never asked.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PAUSE = 1.0
"""Seconds from one look to the next."""
STILL_LOOKS = 120
"""So many looks in a row at a process that sleeps, and it hangs."""
MOST_CPU_SECONDS = 1200.0
"""A process that has used more goes round in circles."""
BROWSER_PATIENCE_MS = 600_000
"""Playwright knows no other limit than a clock: longer than any machine needs for a click."""

Started = subprocess.Popen[Any] | BaseProcess


class Watch:
    """Looks at a process again and again."""

    def __init__(self, process: Started) -> None:
        self.process = process
        self.used = -1.0
        self.still = 0

    def look(self) -> None:
        """Gives up when there is no progress: kills the process and fails.

        Where the system does not tell (it is not Linux), the wait has no end.
        """
        assert self.process.pid is not None
        busy, used = _activity(self.process.pid)
        self.still = 0 if busy or used != self.used else self.still + 1
        self.used = used
        if self.still >= STILL_LOOKS or used > MOST_CPU_SECONDS:
            self.process.kill()
            hangs = f"it sleeps, after {used:.1f} s" if self.still else f"it used {used:.0f} s"
            raise AssertionError(f"process {self.process.pid} hangs: {hangs} of processor time")


def _activity(root: int) -> tuple[bool, float]:
    """Whether a process or one below it runs, or waits for processor or disk; and seconds used."""
    if not Path("/proc/self/stat").exists():
        return True, 0.0
    parents: dict[int, int] = {}
    states: dict[int, str] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:  # it has ended
            continue
        pid = int(folder.name)
        state, *numbers = stat.rpartition(")")[2].split()  # a name may hold blanks and brackets
        parents[pid], states[pid] = int(numbers[0]), state
        ticks[pid] = sum(map(int, numbers[10:14]))  # its own, and its children's that have ended
    family, found = {root}, -1
    while len(family) > found:
        found = len(family)
        family |= {pid for pid, parent in parents.items() if parent in family}
    busy = any(states.get(pid) in {"R", "D"} for pid in family)
    used = sum(ticks.get(pid, 0) for pid in family) / os.sysconf("SC_CLK_TCK")
    return busy, used


def has_ended(process: Started) -> bool:
    """Whether it is over."""
    if isinstance(process, BaseProcess):
        return process.exitcode is not None
    return process.poll() is not None


def wait_until(done: Callable[[], bool], process: Started) -> None:
    """Waits for something that a process does; fails when it ends without having done it."""
    watch = Watch(process)
    while True:
        ended = has_ended(process)
        # The condition is checked more often than the process: tests kill right afterwards.
        for _ in range(500):
            if done():
                return
            time.sleep(PAUSE / 500)
        assert not ended, "the process ended before it had done what is waited for"
        watch.look()


def exit_code(process: Started) -> int:
    """Waits for the end of a process."""
    watch = Watch(process)
    while not has_ended(process):
        if isinstance(process, BaseProcess):
            process.join(PAUSE)
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(PAUSE)
        watch.look()
    code = process.exitcode if isinstance(process, BaseProcess) else process.returncode
    assert code is not None
    return code


def communicate(process: subprocess.Popen[Any], given: Any = None) -> tuple[Any, Any]:
    """Output of a process until it ends (``Popen.communicate``)."""
    watch = Watch(process)
    while True:
        try:
            return process.communicate(given, timeout=PAUSE)
        except subprocess.TimeoutExpired:
            given = None  # the input has been passed on already
            watch.look()


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` with captured output as text, without a time limit."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        out, err = communicate(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)
