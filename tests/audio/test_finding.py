"""Which files a folder or a pattern stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phoneme_moe.audio.finding import audio_files, find_audio
from phoneme_moe.errors import InputError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    return Path()


def write(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(files: list[Path]) -> list[str]:
    return [path.as_posix() for path in files]


def test_files_of_systems_are_left_out(folder: Path) -> None:
    write(
        "a.wav", "._a.wav", ".DS_Store", ".hidden.wav", ".Trash-1000/b.wav", ".git/c.wav",
        "__MACOSX/a.wav", "sub/__MACOSX/._a.wav", "@eaDir/a.wav/SYNO.wav", "#recycle/d.wav",
        "$RECYCLE.BIN/e.wav", "Thumbs.db", "desktop.ini", "lost+found/f.wav", "sub/b.WAV",
        "notes.txt",
    )  # fmt: skip
    assert names(audio_files(folder)) == ["a.wav", "sub/b.WAV"]
    assert names(find_audio([folder])) == ["a.wav", "sub/b.WAV"]
    assert names(find_audio([Path("*.wav")])) == ["a.wav"]
    assert names(find_audio([Path("**/*")])) == ["a.wav", "notes.txt", "sub/b.WAV"]


def test_what_the_user_names_is_taken_whatever_it_is(folder: Path) -> None:
    write("._a.wav", ".hidden/b.wav", ".hidden/c.txt")
    given = [Path("._a.wav"), Path(".hidden"), Path(".hidden/c.txt")]
    assert names(find_audio(given)) == ["._a.wav", ".hidden/b.wav", ".hidden/c.txt"]
    assert names(find_audio([Path(".*.wav")])) == ["._a.wav"]


def test_linked_folders_are_followed_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "x.wav").touch()
    write("ann/a.wav", "bob/b.wav")
    for link, target in {
        "all": "ann",  # sorted before its target, which keeps its own path
        "carol": tmp_path / "elsewhere",
        "carol_again": tmp_path / "elsewhere" / "deep",
        "self": "self",
        "ann/up": "..",
        "bob/here": ".",
        "root": "/",
    }.items():
        Path(link).symlink_to(target)
    assert names(audio_files(folder)) == ["ann/a.wav", "bob/b.wav", "carol/deep/x.wav"]
    assert names(find_audio([Path("**/*.wav")])) == ["ann/a.wav", "bob/b.wav", "carol/deep/x.wav"]
    # A folder that is itself a link.
    assert names(audio_files(Path("all"))) == ["all/a.wav"]
    assert names(audio_files(Path("bob/../bob"))) == ["bob/../bob/b.wav"]


def test_a_broken_link_is_found_by_its_suffix(folder: Path) -> None:
    Path("gone.wav").symlink_to("missing")
    Path("loop.wav").symlink_to("loop.wav")
    Path("gone.txt").symlink_to("missing")
    assert names(audio_files(folder)) == ["gone.wav", "loop.wav"]


def test_the_first_bytes_decide_where_the_suffix_does_not(folder: Path) -> None:
    contents = {
        "recorder.001": b"RIFF\x24\0\0\0WAVEfmt ",
        "voice memo": b"\0\0\0\x18ftypM4A ",
        "old.dat": b"fLaC",
        "notes.txt": b"a s i",
        "short": b"R",
        "none": b"",
        "label.TextGrid": 'File type = "ooTextFile"'.encode("utf-16-le").join([b"\xff\xfe", b""]),
        "photo.heic": b"\0\0\0\x18ftypheic\0\0\0\0",
        "photo.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF",
        "photo.webp": b"RIFF\x24\0\0\0WEBPVP8 ",
        "empty.wav": b"",
    }
    for name, content in contents.items():
        Path(name).write_bytes(content)
    assert names(audio_files(folder)) == ["empty.wav", "old.dat", "recorder.001", "voice memo"]


def test_pipes_and_folders_are_not_recordings(folder: Path) -> None:
    os.mkfifo("pipe.wav")
    os.mkfifo("pipe")
    write("take.wav/one.wav")
    assert names(audio_files(folder)) == ["take.wav/one.wav"]


def test_a_folder_without_permission_is_reported_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.wav", "closed/b.wav")
    scan = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    errors: list[InputError] = []
    assert names(find_audio([folder], errors.append)) == ["a.wav"]
    assert [str(error) for error in errors] == [
        "closed: the folder cannot be read: Permission denied"
    ]
    with pytest.raises(InputError, match="closed: the folder cannot be read"):
        audio_files(folder)


def test_deep_folders_are_searched_to_the_end(folder: Path) -> None:
    deep = Path(*["d" * 50] * 70)
    deep.mkdir(parents=True)
    (deep / "a.wav").touch()
    assert audio_files(folder) == [deep / "a.wav"]


def test_a_folder_beyond_the_longest_path_is_reported(folder: Path) -> None:
    write("a.wav")
    top = Path.cwd()
    for _ in range(100):
        Path("d" * 50).mkdir()
        os.chdir("d" * 50)
    os.chdir(top)
    errors: list[InputError] = []
    assert names(audio_files(top, errors.append)) == [str(top / "a.wav")]
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.wav", ["a1.wav", "a[1].wav"]),
        ("a[1].wav", ["a[1].wav"]),
        ("a?.wav", ["a1.wav"]),
        ("*/x.wav", ["[s]/x.wav", "s/x.wav"]),
        ("[s]/*.wav", ["[s]/x.wav"]),
        ("**/*.wav", ["[s]/x.wav", "a1.wav", "a[1].wav", "s/x.wav"]),
        ("./s/*", ["s/x.wav"]),
        ("../folder/s/*.wav", ["../folder/s/x.wav"]),
    ],
)
def test_a_name_comes_before_a_pattern(folder: Path, pattern: str, found: list[str]) -> None:
    write("a1.wav", "a[1].wav", "[s]/x.wav", "s/x.wav")
    assert names(find_audio([Path(pattern)])) == found


def test_each_file_is_listed_once(folder: Path) -> None:
    write("a.wav", "b.wav")
    given = [Path("b.wav"), Path(), Path("*.wav"), Path("b.wav").absolute(), Path("-"), Path("-")]
    assert names(find_audio(given)) == ["b.wav", "a.wav", "-"]


def test_a_folder_is_the_audio_files_in_it(folder: Path) -> None:
    write("b.wav", "a.FLAC", "sub/c.mp3", "notes.txt", "sub/d.tsv", "sub.wav/one.wav")
    found = find_audio([Path("notes.txt"), folder])
    assert names(found) == ["notes.txt", "a.FLAC", "b.wav", "sub/c.mp3", "sub.wav/one.wav"]


@pytest.mark.parametrize("given", ["none/*.wav", "*.flac", "empty"])
def test_what_finds_nothing_is_an_error(folder: Path, given: str) -> None:
    write("a.wav", "empty/notes.txt")
    with pytest.raises(InputError, match=r"no file matches the pattern|contains no audio files"):
        find_audio([Path(given)])
    errors: list[InputError] = []
    assert names(find_audio([Path(given), Path("a.wav")], errors.append)) == ["a.wav"]
    assert len(errors) == 1
