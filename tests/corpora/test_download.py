"""Downloads from a server on the loopback interface, which answers well or badly."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import communicate, run, wait_until

from phoneme_moe.cli import app
from phoneme_moe.cli.ending import end_in_order
from phoneme_moe.corpora import CORPORA, prepared_names
from phoneme_moe.corpora.download import DOWNLOADS, download_corpus, transfer
from phoneme_moe.corpora.download.table import Archive, Download
from phoneme_moe.corpora.download.transfer import fetch
from phoneme_moe.corpora.download.unpacking import unpack
from phoneme_moe.errors import InputError
from phoneme_moe.files.locks import try_lock

from .loopback import Loopback, serve

FILES = {
    "Tiny/SPEAKERS.TXT": b"14 | F | part-a\n",
    "Tiny/part-a/14/14-208.trans.txt": b"14-208-0000 HELLO\n",
    "Tiny/part-a/14/14-208-0000.flac": os.urandom(40_000),
}


def tar_of(members: dict[str, bytes] | list[tarfile.TarInfo]) -> bytes:
    """A ``.tar.gz`` with files, or with members without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        if isinstance(members, list):
            for member in members:
                tar.addfile(member)
        else:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = tar_of(FILES)


class Served(NamedTuple):
    server: Loopback
    archive: Archive
    to: Path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as loopback:
        yield loopback


def archive_at(server: Loopback, content: bytes = ARCHIVE) -> Archive:
    """Puts an archive on the server."""
    server.files["/part-a.tar.gz"] = content
    return Archive(
        name="part-a.tar.gz",
        urls=(f"{server.url}/part-a.tar.gz",),
        folder="Tiny/part-a",
        size=len(content),
        checksum=f"sha256:{hashlib.sha256(content).hexdigest()}",
    )


def offer(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ``tiny`` a corpus of one archive."""
    tiny = Download(parts={"part-a": archive}, prepare="librispeech", source="Tiny", has_words=True)
    monkeypatch.setitem(DOWNLOADS, "tiny", tiny)


@pytest.fixture
def served(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The corpus ``tiny`` on a server."""
    archive = archive_at(server)
    offer(archive, monkeypatch)
    return Served(server, archive, tmp_path / "downloads")


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for the receipt."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".download.json"
    }


def test_a_corpus_arrives_as_it_is_published_and_nothing_else(served: Served) -> None:
    (part,) = download_corpus("tiny", to=served.to)
    assert contents(served.to) == FILES
    assert part.folder == served.to / "Tiny/part-a"
    assert part.sha256 == hashlib.sha256(ARCHIVE).hexdigest()
    assert part.verified
    assert not part.existed


def test_a_second_call_asks_nobody(served: Served) -> None:
    (first,) = download_corpus("tiny", to=served.to)
    before = list(served.server.requests)
    (second,) = download_corpus("tiny", to=served.to)
    assert served.server.requests == before
    assert second == replace(first, existed=True)


def test_what_a_killed_call_left_is_removed(served: Served) -> None:
    download_corpus("tiny", to=served.to)
    (served.to / "part-a.tar.gz").write_bytes(ARCHIVE)  # unpacked, but not yet removed
    download_corpus("tiny", to=served.to)
    assert contents(served.to) == FILES


def test_the_default_folder_is_beside_prepared_corpora(served: Served, data_folder: Path) -> None:
    download_corpus("tiny")
    assert contents(data_folder / "downloads/tiny") == FILES
    assert prepared_names() == []


def test_a_zip_file_is_unpacked(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in FILES.items():
            file.writestr(name, content)
    server.files["/tiny.zip"] = buffer.getvalue()
    urls = (f"{server.url}/tiny.zip",)
    offer(Archive("tiny.zip", urls, "Tiny", len(buffer.getvalue())), monkeypatch)
    (part,) = download_corpus("tiny", to=tmp_path)
    assert contents(tmp_path) == FILES
    assert not part.verified
    assert part.sha256 == hashlib.sha256(buffer.getvalue()).hexdigest()


def test_a_connection_that_breaks_is_taken_up_again(served: Served) -> None:
    served.server.cuts = [1000, 5000]
    download_corpus("tiny", to=served.to)
    assert [range_ for _, range_ in served.server.requests] == [None, "bytes=1000-", "bytes=6000-"]
    assert contents(served.to) == FILES


def test_the_next_call_goes_on_where_one_ended(served: Served) -> None:
    served.server.cuts = [1000, 0]
    with pytest.raises(InputError, match="the connection broke after 1,000 bytes, which are kept"):
        download_corpus("tiny", to=served.to)
    assert (served.to / "part-a.tar.gz.part").read_bytes() == ARCHIVE[:1000]
    served.server.requests.clear()
    download_corpus("tiny", to=served.to)
    assert served.server.requests == [("/part-a.tar.gz", "bytes=1000-")]
    assert contents(served.to) == FILES


def test_a_server_without_ranges_starts_over(served: Served) -> None:
    served.server.cuts = [1000, 0]
    served.server.has_ranges = False
    with pytest.raises(InputError, match="broke"):
        download_corpus("tiny", to=served.to)
    download_corpus("tiny", to=served.to)
    assert contents(served.to) == FILES


@given(
    cuts=st.lists(st.integers(0, 3000), max_size=4),
    has_ranges=st.booleans(),
    tells_length=st.booleans(),
    exact=st.booleans(),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_often_it_breaks_the_file_is_the_same(
    server: Loopback,
    tmp_path: Path,
    cuts: list[int],
    has_ranges: bool,
    tells_length: bool,
    exact: bool,
) -> None:
    if not (tells_length or exact):
        cuts = []  # nobody can know that such an answer was cut
    server.files["/file"] = content = bytes(range(256)) * 10
    server.cuts, server.has_ranges, server.tells_length = list(cuts), has_ranges, tells_length
    part = tmp_path / "file.part"
    part.unlink(missing_ok=True)
    for _ in range(len(cuts) + 1):
        try:
            fetch([f"{server.url}/file"], part, len(content), exact=exact)
        except InputError:
            continue
        break
    assert part.read_bytes() == content


def test_a_complete_file_of_unknown_size_is_not_sent_again(
    server: Loopback, tmp_path: Path
) -> None:
    server.files["/file"] = b"all of it"
    part = tmp_path / "file.part"
    part.write_bytes(b"all of it")
    fetch([f"{server.url}/file"], part, 10, exact=False)
    assert part.read_bytes() == b"all of it"


@pytest.mark.parametrize("exact", [True, False])
def test_a_part_that_is_too_long_is_no_beginning(
    server: Loopback, tmp_path: Path, exact: bool
) -> None:
    server.files["/file"] = b"all of it"
    server.has_ranges = exact
    part = tmp_path / "file.part"
    part.write_bytes(b"something else")
    fetch([f"{server.url}/file"], part, 9, exact=exact)
    assert part.read_bytes() == b"all of it"


def test_bytes_are_those_of_the_file_though_the_server_calls_them_compressed(
    served: Served,
) -> None:
    served.server.headers = {"Content-Encoding": "gzip"}
    download_corpus("tiny", to=served.to)
    assert contents(served.to) == FILES


def test_a_mirror_helps_out(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = f"{served.server.url}/gone.tar.gz"
    offer(replace(served.archive, urls=(gone, *served.archive.urls)), monkeypatch)
    download_corpus("tiny", to=served.to)
    assert contents(served.to) == FILES


def test_all_mirrors_fail(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tuple(f"{served.server.url}/{name}.tar.gz" for name in ("gone", "lost"))
    offer(replace(served.archive, urls=gone), monkeypatch)
    with pytest.raises(InputError, match=r"gone.*404 Not Found \(1 mirrors failed, too\)"):
        download_corpus("tiny", to=served.to)
    assert list(served.to.iterdir()) == []


def test_a_wrong_checksum(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "md5:" + 32 * "0"
    offer(replace(served.archive, checksum=wrong), monkeypatch)
    found = hashlib.md5(ARCHIVE).hexdigest()
    with pytest.raises(InputError, match=f"found MD5 {found}, expected {32 * '0'}"):
        download_corpus("tiny", to=served.to)
    assert list(served.to.iterdir()) == []
    offer(replace(served.archive, checksum=f"md5:{found}"), monkeypatch)
    download_corpus("tiny", to=served.to)
    assert contents(served.to) == FILES


def test_an_archive_that_is_there_is_checked_and_kept_when_wrong(served: Served) -> None:
    served.to.mkdir()
    path = served.to / "part-a.tar.gz"
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match="remove it to download it again"):
        download_corpus("tiny", to=served.to)
    assert path.read_bytes() == b"something else"
    path.write_bytes(ARCHIVE)
    download_corpus("tiny", to=served.to)
    assert contents(served.to) == FILES
    assert served.server.requests == []


BAD_SERVERS: dict[str, tuple[Callable[[Loopback], None], str]] = {
    "missing": (lambda server: server.files.clear(), "404 Not Found"),
    "overloaded": (lambda server: setattr(server, "status", 503), "503"),
    "no_such_range": (lambda server: setattr(server, "status", 416), "416"),
    "other_size": (
        lambda server: setattr(server, "headers", {"Content-Length": "5"}),
        "found 5 bytes, expected",
    ),
    "more_than_promised": (
        lambda server: (
            setattr(server, "tells_length", False),
            server.files.update({"/part-a.tar.gz": ARCHIVE + b"more"}),
        )[0],
        "sends more than the",
    ),
    "truncated": (
        lambda server: (
            setattr(server, "tells_length", False),
            server.files.update({"/part-a.tar.gz": ARCHIVE[:500]}),
            setattr(server, "has_ranges", False),
        )[0],
        "the connection broke after 500 bytes",
    ),
    "other_host": (
        lambda server: (
            setattr(server, "status", 302),
            setattr(server, "headers", {"Location": "http://localhost:1/part-a.tar.gz"}),
        )[0],
        "redirects to http://localhost:1/part-a.tar.gz",
    ),
    "file_url": (
        lambda server: (
            setattr(server, "status", 302),
            setattr(server, "headers", {"Location": "file:///etc/passwd"}),
        )[0],
        "redirects to file:///etc/passwd",
    ),
    "other_scheme": (
        lambda server: (
            setattr(server, "status", 302),
            setattr(server, "headers", {"Location": "ftp://127.0.0.1/part-a.tar.gz"}),
        )[0],
        "redirects to ftp://127.0.0.1/part-a.tar.gz",
    ),
    "round_and_round": (
        lambda server: (
            setattr(server, "status", 301),
            setattr(server, "headers", {"Location": "/part-a.tar.gz"}),
        )[0],
        "redirects more than 5 times",
    ),
}


@pytest.mark.parametrize("case", BAD_SERVERS)
def test_a_bad_server_is_one_line(
    served: Served, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, message = BAD_SERVERS[case]
    spoil(served.server)
    command = ["phoneme-moe", "corpora", "download", "tiny", "--to", str(served.to)]
    monkeypatch.setattr(sys, "argv", command)
    assert end_in_order(app) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert not (served.to / "Tiny").exists()


def test_nobody_answers(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as other:
        closed = other.url
    offer(replace(served.archive, urls=(f"{closed}/part-a.tar.gz",)), monkeypatch)
    with pytest.raises(InputError, match="Connection refused"):
        download_corpus("tiny", to=served.to)


def test_the_server_falls_silent(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUTS", (10.0, 0.2))
    served.server.cuts, served.server.stall = [100, 0], threading.Event()
    with pytest.raises(InputError, match="no answer in time after 100 bytes, which are kept"):
        download_corpus("tiny", to=served.to)
    assert (served.to / "part-a.tar.gz.part").read_bytes() == ARCHIVE[:100]


def test_the_wrong_range_is_not_appended(served: Served) -> None:
    served.to.mkdir()
    part = served.to / "part-a.tar.gz.part"
    part.write_bytes(ARCHIVE[:100])
    served.server.headers = {"Content-Range": f"bytes 90-99/{len(ARCHIVE)}"}
    with pytest.raises(InputError, match="expected bytes from 100 on"):
        download_corpus("tiny", to=served.to)
    assert part.read_bytes() == ARCHIVE[:100]


def test_too_little_space(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(served.to.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000))
    with pytest.raises(InputError, match=r"found 0\.0 GB of free space"):
        download_corpus("tiny", to=served.to)
    assert served.server.requests == []


def test_a_folder_that_somebody_else_made_is_not_taken_for_the_corpus(served: Served) -> None:
    (served.to / "Tiny/part-a/14").mkdir(parents=True)
    with pytest.raises(InputError, match="no complete download"):
        download_corpus("tiny", to=served.to)
    assert served.server.requests == []


@pytest.mark.skipif(sys.platform == "win32", reason="locks a byte, not the file")
def test_two_processes_do_not_write_the_same_file(served: Served) -> None:
    served.to.mkdir()
    with (served.to / "part-a.tar.gz.part").open("ab") as file:
        assert try_lock(file.fileno())
        with pytest.raises(InputError, match="another process is downloading"):
            download_corpus("tiny", to=served.to)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


BAD_TARS: dict[str, list[tarfile.TarInfo]] = {
    "up": [member("../outside")],
    "far_up": [member("Tiny/part-a/../../../outside")],
    "symlink": [member("Tiny/part-a/link", tarfile.SYMTYPE, "/etc/passwd")],
    "symlink_inside": [member("Tiny/part-a/link", tarfile.SYMTYPE, "14")],
    "through_a_symlink": [
        member("Tiny/part-a", tarfile.SYMTYPE, "../../.."),
        member("Tiny/part-a/outside"),
    ],
    "hard_link": [member("Tiny/part-a/link", tarfile.LNKTYPE, "/etc/passwd")],
    "device": [member("Tiny/part-a/null", tarfile.CHRTYPE)],
    "pipe": [member("Tiny/part-a/pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("case", BAD_TARS)
def test_a_malicious_tar_leaves_nothing(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    offer(archive_at(server, tar_of(BAD_TARS[case])), monkeypatch)
    to = tmp_path / "a" / "b"
    with pytest.raises(InputError):
        download_corpus("tiny", to=to)
    assert list(contents(tmp_path)) == ["a/b/part-a.tar.gz"]
    assert not (to / "Tiny/part-a").exists()


def test_absolute_names_stay_inside(tmp_path: Path) -> None:
    archive, folder = tmp_path / "a.tar.gz", tmp_path / "folder"
    archive.write_bytes(tar_of({f"{tmp_path}/outside": b"x"}))
    folder.mkdir()
    unpack(archive, folder)
    assert list(contents(tmp_path)) == ["a.tar.gz", f"folder{tmp_path}/outside"]


@pytest.mark.parametrize("kind", ["up", "symlink"])
def test_a_malicious_zip_leaves_nothing(tmp_path: Path, kind: str) -> None:
    archive, folder = tmp_path / "a.zip", tmp_path / "folder"
    with zipfile.ZipFile(archive, "w") as file:
        info = zipfile.ZipInfo("../outside" if kind == "up" else "link")
        info.external_attr = (stat.S_IFLNK if kind == "symlink" else stat.S_IFREG) << 16
        file.writestr(info, "/etc/passwd")
    folder.mkdir()
    with pytest.raises(InputError, match=r"a\.zip"):
        unpack(archive, folder)
    assert list(contents(tmp_path)) == ["a.zip"]


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_a_bomb_is_not_unpacked(tmp_path: Path, suffix: str) -> None:
    archive, folder = tmp_path / f"bomb.{suffix}", tmp_path / "folder"
    folder.mkdir()
    zeros = bytes(10_000_000)
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("zeros", zeros)
    else:
        archive.write_bytes(tar_of({"zeros": zeros}))
    with pytest.raises(InputError, match="more than 10 times its size"):
        unpack(archive, folder)
    assert contents(folder) == {}


def damaged_checksum() -> bytes:
    return ARCHIVE[:-8] + bytes(4) + ARCHIVE[-4:]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(ARCHIVE[:-20], id="truncated"),
        pytest.param(ARCHIVE[:300] + b"\xff\xff\xff" + ARCHIVE[303:], id="changed"),
        pytest.param(damaged_checksum(), id="checksum_of_gzip"),
        pytest.param(b"<html>not found</html>", id="page"),
        pytest.param(gzip.compress(b"no tar"), id="no_tar"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_damaged_archive_is_never_a_corpus(
    served: Served, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    offer(replace(served.archive, checksum=None, size=len(content)), monkeypatch)
    served.server.files["/part-a.tar.gz"] = content
    with pytest.raises(InputError, match=r"part-a\.tar\.gz: "):
        download_corpus("tiny", to=served.to)
    assert not (served.to / "Tiny/part-a").exists()


def test_the_archive_lacks_the_corpus(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(replace(served.archive, folder="Tiny/part-b"), monkeypatch)
    with pytest.raises(InputError, match="found no folder Tiny/part-b in it"):
        download_corpus("tiny", to=served.to)
    assert not (served.to / "Tiny/part-b").exists()


@pytest.mark.parametrize(
    ("name", "parts", "message"),
    [
        ("librispeech", (), r"part: found none, expected one or more of train-clean-100 \(6\.4 GB"),
        ("librispeech", ("train",), "unknown part 'train' of librispeech"),
        ("commonvoice", (), "Mozilla asks for your consent"),
        ("announcers", (), "nothing to download"),
        ("libri", (), "unknown corpus 'libri'"),
    ],
)
def test_what_cannot_be_downloaded(name: str, parts: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        download_corpus(name, parts)


def test_another_mirror(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(replace(served.archive, urls=("http://127.0.0.1:1/part-a.tar.gz",)), monkeypatch)
    download_corpus("tiny", to=served.to, mirror=f"{served.server.url}/")
    assert contents(served.to) == FILES
    with pytest.raises(InputError, match="expected a URL of http or https"):
        download_corpus("tiny", to=served.to, mirror="file:///tmp")


def test_checksums_of_librispeech_are_those_of_torchaudio() -> None:
    from torchaudio.datasets import librispeech

    parts = DOWNLOADS["librispeech"].parts
    assert list(parts) == sorted(parts, key=list(parts).index)
    assert {part: archive.checksum for part, archive in parts.items()} == {
        url.rpartition("/")[2].removesuffix(".tar.gz"): f"sha256:{checksum}"
        for url, checksum in librispeech._CHECKSUMS.items()
    }


@pytest.mark.parametrize("name", DOWNLOADS)
def test_the_table_is_well_formed(name: str) -> None:
    for archive in DOWNLOADS[name].parts.values():
        assert archive.urls[0].startswith("https://")
        assert archive.name.endswith((".tar.gz", ".zip"))
        if archive.checksum:
            algorithm, digest = archive.checksum.split(":")
            assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
        assert archive.folder.startswith(DOWNLOADS[name].source)
    assert "lexicon" in CORPORA[DOWNLOADS[name].prepare].options or not DOWNLOADS[name].has_words


PROGRAM = """
import sys
from phoneme_moe.cli import main
from phoneme_moe.corpora import prepared_names
from phoneme_moe.corpora.download import DOWNLOADS
from phoneme_moe.corpora.download.table import Archive, Download
archive = Archive("part-a.tar.gz", (sys.argv.pop(1),), "Tiny/part-a", int(sys.argv.pop(1)))
DOWNLOADS["tiny"] = Download({"part-a": archive}, "librispeech", "Tiny", has_words=True)
main()
"""


@pytest.mark.slow
def test_ctrl_c_keeps_what_has_come(served: Served) -> None:
    """The command says how to go on, and then does; it is quiet since nothing is a terminal."""
    arguments = ["corpora", "download", "tiny", "--to", str(served.to)]
    command = [sys.executable, "-c", PROGRAM, served.archive.urls[0], str(len(ARCHIVE)), *arguments]
    served.server.cuts, served.server.stall = [30_000], threading.Event()
    part = served.to / "part-a.tar.gz.part"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        wait_until(lambda: part.exists() and part.stat().st_size >= 30_000, process)
        process.send_signal(signal.SIGINT)
        out, err = communicate(process)
    served.server.stall.set()
    assert process.returncode == 130
    assert out == ""
    assert err == (
        f"interrupted by SIGINT; go on with: phoneme-moe corpora download tiny --to {served.to}\n"
    )
    assert part.read_bytes() == ARCHIVE[:30_000]
    assert not (served.to / "Tiny").exists()
    served.server.requests.clear()
    done = run(command)
    assert served.server.requests == [("/part-a.tar.gz", "bytes=30000-")]
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"part-a: downloaded to {served.to / 'Tiny/part-a'}",
        f"part-a: no checksum is published; SHA-256 {hashlib.sha256(ARCHIVE).hexdigest()}",
        f"next: phoneme-moe corpora prepare librispeech --from {served.to / 'Tiny'} "
        "--lexicon FILE --unknown-words g2p",
    ]
    assert contents(served.to) == FILES
