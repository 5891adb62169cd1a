"""Which transcript belongs to which recording."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.audio.finding import name_below
from phoneme_moe.errors import ArgumentError
from phoneme_moe.files.writing import portable_name
from phoneme_moe.transcription.writers.output_folder import INDEX, OutputFolder


def write(out: Path, recording: str, inputs: tuple[str, ...] = (), *suffixes: str) -> list[str]:
    """What a new command writes for a recording; gives the names."""
    path = Path(recording)
    name = name_below(path, set(map(Path, inputs)))
    paths = OutputFolder(out).claim(path, name, suffixes or [".json"])
    for written in paths:
        assert out in written.parents
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_bytes(os.fsencode(recording))
    return [written.relative_to(out).as_posix() for written in paths]


def done(out: Path, recording: str, *suffixes: str) -> bool:
    return OutputFolder(out).is_done(Path(recording), suffixes or [".json"])


def test_a_recording_and_its_transcript_share_the_name(tmp_path: Path) -> None:
    assert write(tmp_path, "x/a.wav") == ["a.json"]
    assert write(tmp_path, "c.d.FLAC", (), ".json", ".txt") == ["c.d.json", "c.d.txt"]
    assert write(tmp_path, "recorder.001") == ["recorder.001.json"]
    assert write(tmp_path, "data/ann/b.wav", ("data",)) == ["ann/b.json"]
    assert write(tmp_path, "/data/ann/c.wav", ("/data/ann", "x.wav")) == ["c.json"]
    assert write(tmp_path, "e/f.wav", (".",)) == ["e/f.json"]
    assert write(tmp_path, "../g.wav", (".", "..")) == ["g.json"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    for folder in (tmp_path / "a.wav", tmp_path / "a.wav" / "grids"):
        with pytest.raises(
            ArgumentError, match=r"^out: .*a\.wav: found a file, expected a folder$"
        ):
            OutputFolder(folder)
    OutputFolder(tmp_path / "new" / "grids")


def test_the_same_name_from_two_folders(tmp_path: Path) -> None:
    (first,) = write(tmp_path, "x/a.wav")
    (second,) = write(tmp_path, "y/a.wav")
    assert first == "a.json"
    assert second.startswith("a-")
    assert (tmp_path / first).read_text() == "x/a.wav"
    assert (tmp_path / second).read_text() == "y/a.wav"
    # Each keeps its name, in any later command, also through another path.
    assert write(tmp_path, "y/../y/a.wav") == [second]
    assert write(tmp_path, str(Path("x/a.wav").absolute())) == [first]
    assert write(tmp_path, "y/a.wav", (), ".txt") == [second.replace(".json", ".txt")]
    assert write(tmp_path / "other", "y/a.wav") == ["a.json"]
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_only_the_transcripts_of_a_recording_make_it_done(tmp_path: Path) -> None:
    assert not done(tmp_path, "x/a.wav")
    write(tmp_path, "x/a.wav")
    assert done(tmp_path, "x/a.wav")
    assert not done(tmp_path, "y/a.wav")
    assert not done(tmp_path, "x/a.flac")
    assert not done(tmp_path, "x/a.wav", ".json", ".txt")
    (tmp_path / "a.json").unlink()
    assert not done(tmp_path, "x/a.wav")
    # Given by its folder now; it already has a name.
    assert write(tmp_path, "x/a.wav", (".",)) == ["a.json"]


def test_a_file_of_the_user_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("my labels")
    (name,) = write(tmp_path, "x/a.wav", (), ".txt")
    assert name.startswith("a-")
    assert (tmp_path / "a.txt").read_text() == "my labels"
    assert not done(tmp_path, "y/a.wav", ".txt")


def test_names_that_differ_only_in_case(tmp_path: Path) -> None:
    names = [write(tmp_path, f"x/{name}.wav")[0] for name in ("Año", "aÑO", "AN\u0303O")]
    assert len({name.lower() for name in names}) == 3


def test_standard_input_is_another_recording_every_time(tmp_path: Path) -> None:
    names = [write(tmp_path, "-")[0] for _ in range(3)]
    assert names == ["stdin.json", "stdin-2.json", "stdin-3.json"]
    assert not done(tmp_path, "-")


def test_links_of_the_folder_lead_to_the_same_recording(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    out = tmp_path / "out"
    write(out, str(tmp_path / "real" / "a.wav"))
    assert done(out, str(tmp_path / "link" / "a.wav"))


@pytest.mark.parametrize(
    "damage",
    [
        b'{"transcript": "a.js',  # a killed process
        b"\xff\xfe\x00",
        b'{"transcript": "../b.json", "recording": "/x"}\n',
        b'{"transcript": "/etc/b.json", "recording": "/x"}\n',
        b'{"transcript": "c:b.json", "recording": "/x"}\n',
        b'{"transcript": 3, "recording": "/x"}\n[1, 2]\n{}\n""\n',
        b'{"transcript": "", "recording": "/x"}\n',
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_of_the_index_is_passed_over(damage: bytes, tmp_path: Path) -> None:
    write(tmp_path, "x/a.wav")
    with (tmp_path / INDEX).open("ab") as file:
        file.write(damage)
    assert done(tmp_path, "x/a.wav")
    assert write(tmp_path, "/x") == ["x.json"]
    assert done(tmp_path, "/x")
    assert write(tmp_path, "y/a.wav")[0].startswith("a-")


def _claim(out: Path, number: int, start: object, names: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    names.put(write(out, f"{number}/a.wav"))  # type: ignore[attr-defined]


def test_processes_that_run_side_by_side_share_no_name(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, names = context.Barrier(6), context.Queue()
    processes = [
        context.Process(target=_claim, args=(tmp_path, number, start, names)) for number in range(6)
    ]
    for process in processes:
        process.start()
    written = [names.get(timeout=60)[0] for _ in processes]
    for process in processes:
        process.join()
    assert len(set(written)) == 6
    assert "a.json" in written


@given(
    st.lists(
        st.binary(min_size=1, max_size=30).map(
            lambda raw: os.fsdecode(raw.replace(b"\0", b"")) or "x"
        )
        | st.text("aA.:? \n\x1bé/", min_size=1, max_size=6),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_recordings_are_called_they_share_no_name(
    tmp_path_factory: pytest.TempPathFactory, recordings: list[str]
) -> None:
    out = tmp_path_factory.mktemp("out")
    files = {Path(os.path.normpath(f"/data/{recording}")) for recording in recordings}
    files = {file for file in files if Path("/data") in file.parents}
    written = {}
    for file in files:
        (written[file],) = write(out, str(file), ("/data",))
    assert len({name.lower() for name in written.values()}) == len(files)
    assert all(done(out, str(file)) for file in files)


@pytest.mark.parametrize(
    ("name", "portable"),
    [
        ("a b.wav", "a b.wav"),
        ("12:30?.wav", "12_30_.wav"),
        ('<>"/\\|*', "_______"),
        ("con", "_con"),
        ("AUX.tar", "_AUX.tar"),
        ("com1", "_com1"),
        ("console", "console"),
        ("a.", "a_"),
        ("..", "._"),
        ("a ", "a_"),
        ("a\x1b[0m\n\u202e", "a_[0m__"),
        ("caf\udce9", "caf_"),
        ("e\u0301", "é"),
    ],
)
def test_portable_names(name: str, portable: str) -> None:
    assert portable_name(name) == portable


@given(st.text(min_size=1) | st.text("aé語", min_size=60, max_size=255))
def test_a_portable_name_is_one_that_stays(name: str) -> None:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return  # no name of a file
    portable = portable_name(name)
    assert portable_name(portable) == portable
    assert 0 < len(portable.encode()) <= 200
    assert not PureWindowsPath(portable).is_reserved()
    assert PureWindowsPath(portable).parts == (portable,)


def test_long_names_stay_different() -> None:
    assert portable_name("x" * 250 + "1") != portable_name("x" * 250 + "2")
