"""The number of processor cores that this process may use.

A container or a batch system often grants fewer than the machine has: by CPU affinity, or by a
quota of CPU time, which neither ``os.cpu_count`` nor torch knows. More threads than cores only
wait for each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Cores:
    """The number of cores, and what it comes from."""

    number: int
    source: str

    def __str__(self) -> str:
        """For people, such as ``4 cores``."""
        return f"{self.number} {'core' if self.number == 1 else 'cores'}"


def usable_cores() -> Cores:
    """The smallest of all limits; ``OMP_NUM_THREADS``, if set, decides alone."""
    chosen = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if chosen.isdecimal() and int(chosen) > 0:
        return Cores(int(chosen), "set by OMP_NUM_THREADS")
    machine = os.cpu_count() or 1
    limits = [
        Cores(machine, "all of the machine"),
        Cores(_affinity() or machine, "CPU affinity"),
        Cores(cgroup_quota() or machine, "cgroup quota"),
    ]
    return min(limits, key=lambda cores: cores.number)


def limit_torch_threads() -> None:
    """Lowers torch's number of threads to the usable cores; never raises it."""
    import torch

    number = usable_cores().number
    if number < torch.get_num_threads():
        torch.set_num_threads(number)


def _affinity() -> int | None:
    if hasattr(os, "process_cpu_count"):  # from Python 3.13, and on all systems
        count: int | None = os.process_cpu_count()
        return count
    # Neither macOS nor Windows has it.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def cgroup_quota(membership: Path = _MEMBERSHIP, mount: Path = _MOUNT) -> int | None:
    """Cores' worth of CPU time that Linux grants to this process, rounded up; None if unlimited.

    A quota of any group above that of the process counts, too. In a container, the groups of the
    host are not mounted, and the container's own is the root.

    Args:
        membership: The file that lists the groups of the process.
        mount: The folder in which control groups are mounted.
    """
    quotas = [
        quota
        for group in _groups(membership, mount)
        for quota in (_quota_v2(group), _quota_v1(group))
        if quota is not None
    ]
    return max(1, math.ceil(min(quotas))) if quotas else None


def _groups(membership: Path, mount: Path) -> Iterator[Path]:
    """Folders of the groups that control CPU time, up to their roots."""
    for line in _read(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has no list of controllers; beside version 1 it is mounted in unified/.
        for root in (mount / controllers, mount / ("cpu" if controllers else "unified")):
            parts = [part for part in Path(group).parts if part not in {"/", ".."}]
            for depth in range(len(parts), -1, -1):
                yield root.joinpath(*parts[:depth])


def _quota_v2(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").strip().partition(" ")
    return _ratio(quota, period)


def _quota_v1(group: Path) -> float | None:
    return _ratio(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """CPU time per wall-clock time; None without a limit, which is -1 or ``max``."""
    try:
        ratio = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return ratio if ratio > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
