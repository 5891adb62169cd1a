"""Lists of recordings: how they are read, divided and named."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.errors import InputError
from phoneme_moe.files.writing import portable_name
from phoneme_moe.transcription.file_list import Shard, files_of_shard, read_list
from phoneme_moe.transcription.writers.list_folder import ListFolder, transcript_name

NAMES = st.text(st.characters(exclude_characters="\0\n\r/", exclude_categories=["Cs"]), min_size=1)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join).filter(str.strip)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "list"
    path.write_bytes(content)
    return path


def test_names_are_read_as_they_are_written(tmp_path: Path) -> None:
    content = "\ufeffa b.wav\n\n  c.wav \r\n \t\nż/[x]*.wav\n-".encode() + b"\n\xe9.wav"
    found = list(read_list(written(tmp_path, content)))
    assert found == ["a b.wav", "  c.wav ", "ż/[x]*.wav", "-", os.fsdecode(b"\xe9.wav")]


def test_a_list_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a.wav\nb.wav\n")))
    assert list(read_list(Path("-"))) == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "found no paths"),
        (b"\n \n", "found no paths"),
        ("a.wav\n".encode("utf-16"), "line 1: found a NUL character"),
        (b"a.wav\nb.wav\0c.wav", "line 2: found a NUL character"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=problem) as error:
        list(read_list(path))
    assert str(path) in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        list(read_list(tmp_path))


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/5", "", "1 / 4"])
def test_no_shard(text: str) -> None:
    with pytest.raises(InputError, match="expected I/N with I from 1 to N"):
        Shard.parse(text)


@given(st.lists(PATHS, max_size=40), st.integers(1, 7))
def test_every_recording_is_in_one_shard_whatever_the_order(paths: list[str], number: int) -> None:
    shards = [files_of_shard(paths, Shard(i + 1, number)) for i in range(number)]
    names = [transcript_name(path) for shard in shards for path in shard]
    assert len(set(names)) == len(names)
    assert set(names) == set(map(transcript_name, paths))
    backwards = [files_of_shard(reversed(paths), Shard(i + 1, number)) for i in range(number)]
    assert [set(map(transcript_name, s)) for s in backwards] == [
        set(map(transcript_name, s)) for s in shards
    ]


def test_shards_are_of_similar_size() -> None:
    paths = [f"/data/{number:05}.wav" for number in range(10_000)]
    sizes = [len(files_of_shard(paths, Shard(i + 1, 10))) for i in range(10)]
    assert sum(sizes) == 10_000
    assert max(sizes) < 1_100


def test_the_shard_of_a_path_never_changes() -> None:
    """Processes of different versions may work on one list; the figures are those of BLAKE2b."""
    paths = [f"/data/{number}.wav" for number in range(8)]
    assert [[Shard(i + 1, 4).contains(path) for i in range(4)].index(True) for path in paths] == [
        1,
        2,
        2,
        3,
        0,
        0,
        3,
        2,
    ]


def test_a_name_is_the_absolute_path() -> None:
    assert transcript_name("/data/ann/a.wav") == "data/ann/a.wav"
    assert transcript_name("/data/bob/../ann//./a.wav") == "data/ann/a.wav"
    assert transcript_name("a b/ż.wav") == f"{Path.cwd()}/a b/ż.wav".removeprefix("/")
    assert transcript_name("/data/a:b.wav").startswith("data/a_b.wav-")


@given(st.lists(PATHS, min_size=2, max_size=2, unique_by=os.path.abspath))
def test_different_recordings_have_different_names_on_every_system(paths: list[str]) -> None:
    first, second = map(transcript_name, paths)
    assert first != second
    for name in (first, second):
        assert all(part == portable_name(part, max_bytes=255) for part in name.split("/"))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    with pytest.raises(InputError, match="found other files"):
        ListFolder(tmp_path).create()
    with pytest.raises(InputError, match="found no folder shards"):
        ListFolder(tmp_path).require()
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_one_process_at_a_time_transcribes_a_shard(tmp_path: Path) -> None:
    folder = ListFolder(tmp_path / "out")
    folder.create()
    with (
        folder.failures_of(Shard(1, 2)) as note,
        pytest.raises(InputError, match="another process is transcribing shard 1 of 2"),
        folder.failures_of(Shard(1, 2)),
    ):
        pass
    with folder.failures_of(Shard(1, 2)) as note, folder.failures_of(Shard(2, 2)):
        note(os.fsdecode(b"/data/\xe9.wav"), "no such file")
    path = folder.failures_file(Shard(1, 2))
    path.write_bytes(path.read_bytes() + b'{"file": "/data/b')
    ((file, name, error),) = folder.failures()
    assert (file, error) == ("/data/\\xe9.wav", "no such file")
    assert name == transcript_name(os.fsdecode(b"/data/\xe9.wav"))
