"""How many cores a process may use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phoneme_moe.system import cores
from phoneme_moe.system.cores import Cores, cgroup_quota, limit_torch_threads, usable_cores


def tree(folder: Path, membership: str, files: dict[str, str]) -> int | None:
    """The quota in a file system with these control groups."""
    (folder / "cgroup").write_text(membership)
    for name, text in files.items():
        path = folder / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cgroup_quota(folder / "cgroup", folder / "mount")


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),  # rounded up
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "500000 100000", "a/cpu.max": "300000 100000"}, 3),
        # The groups of the host, which a container does not see.
        ("0::/../../pod/x\n", {"cpu.max": "400000 100000"}, 4),
        (
            "4:memory:/m\n3:cpu,cpuacct:/docker/x\n1:name=systemd:/\n",
            {
                "cpu,cpuacct/docker/x/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            "3:cpu,cpuacct:/docker/x\n",
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"},
            1,
        ),
        (
            "2:cpu:/\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("1:cpuset:/\n0::/a\n", {"unified/a/cpu.max": "100000 100000"}, 1),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("", {}, None),
    ],
)
def test_quotas_of_control_groups(
    membership: str, files: dict[str, str], quota: int | None, tmp_path: Path
) -> None:
    assert tree(tmp_path, membership, files) == quota


def test_without_control_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path / "none", tmp_path / "none") is None


def test_the_smallest_limit_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(cores, "_affinity", lambda: 16)
    monkeypatch.setattr(cores, "cgroup_quota", lambda: None)
    assert usable_cores() == Cores(16, "all of the machine")
    assert str(usable_cores()) == "16 cores"
    monkeypatch.setattr(cores, "_affinity", lambda: 8)
    assert usable_cores() == Cores(8, "CPU affinity")
    monkeypatch.setattr(cores, "cgroup_quota", lambda: 3)
    assert usable_cores() == Cores(3, "cgroup quota")
    monkeypatch.setattr(cores, "cgroup_quota", lambda: 12)
    assert usable_cores() == Cores(8, "CPU affinity")
    for value, expected in {"5": 5, "6,2": 6, "": 8, "many": 8, "0": 8, "-1": 8}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert usable_cores().number == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert str(usable_cores()) == "1 core"
    assert usable_cores().source == "set by OMP_NUM_THREADS"


def test_torch_gets_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        monkeypatch.setenv("OMP_NUM_THREADS", "6")
        limit_torch_threads()
        assert torch.get_num_threads() == 4
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        limit_torch_threads()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset")
def test_a_process_bound_to_one_core_uses_one() -> None:
    code = (
        "from phoneme_moe.system.cores import usable_cores\n"
        "print(usable_cores(), usable_cores().source)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        ["taskset", "-c", str(core), sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    expected = "CPU affinity" if (os.cpu_count() or 1) > 1 else "all of the machine"
    assert done.stdout == f"1 core {expected}\n"
