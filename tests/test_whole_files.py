from __future__ import annotations

import errno
from pathlib import Path

import pytest

from phoneme_moe.files import atomic_path, remove_temporaries, write_text


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.json", "old")

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left") as told:
        write_text(tmp_path / "a.json", "new")
    assert told.value.filename == str(tmp_path / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
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


def test_only_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    ours = ("metrics.csv", "report/report.html", "a.b.tar.gz", "LICENSE", ".hidden")
    users = (".gitignore", ".notes.settings", ".metrics.csv.bak", ".ipynb_checkpoints/.x", ".git/x")
    for name in (*ours, *users):
        write_text(tmp_path / name, "whole")
    whole = sorted(tmp_path.rglob("*"))
    begun = [atomic_path(tmp_path / name) for name in ours]
    for write in begun:
        write.__enter__()  # and never left, as by a kill
    (tmp_path / ".model.json.partial-0a_b1c2d.json").touch()  # of version 0.1
    assert len(list(tmp_path.rglob("*"))) == len(whole) + len(ours) + 1
    remove_temporaries(tmp_path)
    assert sorted(tmp_path.rglob("*")) == whole
