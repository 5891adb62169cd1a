from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from phoneme_moe.errors import InputError
from phoneme_moe.files import atomic, locks
from phoneme_moe.files.atomic import atomic_folder, atomic_path, is_empty, remove_temporaries
from phoneme_moe.files.locks import lock_folder
from phoneme_moe.files.writing import write_text

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills a forked process")


def entered(block: AbstractContextManager[object]) -> object:
    """Enters a block that nobody leaves; a block that is collected would be left."""
    block.__enter__()
    return block


def killed_in(act: Callable[[], object]) -> None:
    """Does something in a process that is killed afterwards, before it leaves a block."""
    child = os.fork()
    if child == 0:
        try:
            _kept = act()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def anything(_: Path) -> None:
    """Every existing folder may be replaced."""


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.json", "old")

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left") as told:
        write_text(tmp_path / "a.json", "new")
    assert told.value.filename == str(tmp_path / "a.json")
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_path(tmp_path / "x") as path:
            path.write_text("half")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 250 + ".json", "a." + "x" * 250, "\udce9" * 255])
def test_a_name_may_be_as_long_as_the_system_permits(name: str, tmp_path: Path) -> None:
    write_text(tmp_path / name, "\udce9 é")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"\\udce9 \xc3\xa9"


def test_what_a_killed_write_left_is_used_by_the_next(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a.json") as path:
            path.write_text("a long text, half written")
            os.kill(os.getpid(), signal.SIGKILL)

    killed_in(write)
    assert is_empty(tmp_path)
    assert len(names(tmp_path)) == 1
    write_text(tmp_path / "a.json", "short")
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "short"


@pytest.mark.parametrize("locked", [True, None])
def test_writers_of_the_same_file_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool | None
) -> None:
    if locked is None:
        monkeypatch.setattr(atomic, "try_lock", lambda _: None)  # a file system without locks
    with atomic_path(tmp_path / "a") as one, atomic_path(tmp_path / "a") as other:
        one.write_text("1")
        other.write_text("2")
        assert (one.read_text(), other.read_text()) == ("1", "2")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "1"  # the block that ended last


def test_only_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    ours = ("metrics.csv", "report/report.html", "a.b.tar.gz", "LICENSE", ".hidden")
    users = (".gitignore", ".notes.settings", ".metrics.csv.bak", ".ipynb_checkpoints/.x", ".git/x")
    for name in (*ours, *users):
        write_text(tmp_path / name, "whole")
    (tmp_path / ".metrics.csv.partial-a1_b2c3d.csv").touch()  # of version 0.1
    killed_in(lambda: entered(atomic_folder(tmp_path / "clips", anything)))
    whole = {*names(tmp_path)} - {
        name for name in names(tmp_path) if "partial-" in name or name == ".lock"
    }
    killed_in(lambda: [entered(atomic_path(tmp_path / name)) for name in ours])
    with atomic_path(tmp_path / "living") as living:
        left = len(names(tmp_path)) - len(whole)
        assert left > len(ours) + 2
        remove_temporaries(tmp_path)
        assert {*names(tmp_path)} == {*whole, living.name}


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for text in ("one", "two"):
        with atomic_folder(target, anything) as folder:
            (folder / text).write_text(text)
    assert names(tmp_path) == ["out", "out/two"]

    def fail() -> None:
        with atomic_folder(target, anything) as folder:
            (folder / "three").touch()
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        fail()
    assert names(tmp_path) == ["out", "out/two"]


def test_a_folder_killed_between_its_two_renames_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    with atomic_folder(target, anything) as folder:
        (folder / "one").touch()
    rename = Path.rename

    def rename_or_die(self: Path, to: Path) -> Path:
        if to.name == "out":
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, to)

    def replace() -> None:
        monkeypatch.setattr(Path, "rename", rename_or_die)
        with atomic_folder(target, anything):
            pass

    killed_in(replace)
    assert not target.exists()
    with pytest.raises(ValueError, match="half"), atomic_folder(target, anything):
        raise ValueError("half")
    assert names(tmp_path) == ["out", "out/one"]


def test_what_a_folder_killed_after_its_rename_left_is_removed(tmp_path: Path) -> None:
    def finished(target: Path) -> None:
        if target.exists():
            raise ValueError("finished")

    def write() -> None:
        with atomic_folder(tmp_path / "out", finished) as folder:
            (folder / "one").touch()
            folder.rename(tmp_path / "out")
            os.kill(os.getpid(), signal.SIGKILL)

    killed_in(write)
    assert len(names(tmp_path)) > 2
    with pytest.raises(ValueError, match="finished"):
        atomic_folder(tmp_path / "out", finished).__enter__()
    assert names(tmp_path) == ["out", "out/one"]


def test_a_folder_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out", anything):
        with pytest.raises(InputError, match=f"^{tmp_path}/out: another process \\({os.getpid()}"):
            atomic_folder(tmp_path / "out", anything).__enter__()
        with pytest.raises(OSError, match="full") as full, atomic_folder(tmp_path / "b", anything):
            raise OSError(errno.ENOSPC, "full")
    assert full.value.filename == str(tmp_path / "b")
    assert names(tmp_path) == ["out"]


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    killed_in(lambda: entered(lock_folder(folder)))
    assert names(folder) == [".lock"]
    with lock_folder(folder):
        with pytest.raises(InputError, match=r"a/run: another process \(\d+\) is writing"):
            lock_folder(folder).__enter__()
        (folder / "x").touch()
    assert names(folder) == ["x"]


def test_without_locks_nobody_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(locks, "_lock", unsupported)
    with lock_folder(tmp_path / "run"), lock_folder(tmp_path / "run"):
        pass
    assert names(tmp_path) == []
