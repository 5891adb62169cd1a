"""``phoneme-moe transcribe --files-from``, ended and taken up again, and ``phoneme-moe merge``."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import tiny
from waiting import exit_code, wait_until

from phoneme_moe.transcription.file_list import Shard, files_of_shard
from phoneme_moe.transcription.merge import COLUMNS
from phoneme_moe.transcription.shard import ShardDocument
from phoneme_moe.transcription.writers.list_folder import ListFolder

if TYPE_CHECKING:
    from conftest import Outcome

Command = Callable[..., "Outcome"]

RUN = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "gate"
NUM_FILES = 400


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings of equal names in many folders, and two that are none."""
    root = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(1)
    voices = []
    for speaker in ("ann", "bob"):
        samples, _ = tiny.speak(["a", "s", "i", "m"], speaker, random)
        voices.append(root / f"{speaker}.wav")
        soundfile.write(voices[-1], samples, tiny.RATE)
    made = []
    for number in range(NUM_FILES):
        made.append(root / f"folder {number // 2}" / ("ä b.wav", "[1]?.wav")[number % 2])
        made[-1].parent.mkdir(exist_ok=True)
        made[-1].hardlink_to(voices[number % 2])
    made[3].unlink()
    made[4].unlink()
    made[4].write_text("no sound at all")
    return made


@pytest.fixture(scope="module")
def listed(recordings: list[Path]) -> Path:
    path = recordings[0].parents[1] / "list"
    path.write_text("\n".join(map(str, [*recordings, "", recordings[0]])))
    return path


def command(listed: Path, out: Path, shard: str, *others: str) -> list[str | Path]:
    return ["transcribe", RUN, "--files-from", listed, "--shard", shard, "--out", out, *others]


def snapshot(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_killed_and_taken_up_again_nothing_is_done_twice_or_missing(
    phoneme_moe: Command, recordings: list[Path], listed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    folder = ListFolder(out)
    mine = files_of_shard(map(str, recordings), Shard(1, 2))
    argv = [sys.executable, "-m", "phoneme_moe", *command(listed, out, "1/2")]
    (wanted,) = folder.paths(mine[len(mine) // 4], [".json"])
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(wanted.exists, process)
        process.kill()
        assert exit_code(process) == -signal.SIGKILL
    before = snapshot(folder.transcripts)
    visible = {path for path in before if not path.name.startswith(".")}
    # Two recordings, wherever they are, have no transcript.
    assert len(mine) // 4 - 2 < len(visible) < len(mine) - 2
    assert not ShardDocument.read(folder.totals_file(Shard(1, 2))).finished

    unfinished = phoneme_moe(
        "merge", out, "--out", tmp_path / "all.parquet", "--files-from", listed
    )
    assert unfinished.code == 1
    assert "1-of-2.json: not finished" in unfinished.err
    assert ": missing" in unfinished.err
    assert not (tmp_path / "all.parquet").exists()

    codes = [phoneme_moe(*command(listed, out, s, "--skip-done")).code for s in ("1/2", "2/2")]
    first, second = (ShardDocument.read(folder.totals_file(Shard(i, 2))) for i in (1, 2))
    assert first.already_done == len(visible)
    assert first.already_done + first.transcribed + first.failed == first.files == len(mine)
    assert first.files + second.files == NUM_FILES
    assert first.failed + second.failed == 2
    assert codes == [int(first.failed > 0), int(second.failed > 0)]
    after = snapshot(folder.transcripts)
    assert len(after) == NUM_FILES - 2  # and no temporary file
    for path in visible:
        assert after[path] == before[path]

    merged = phoneme_moe("merge", out, "--out", tmp_path / "all.parquet", "--files-from", listed)
    assert merged.code == 0, merged.err
    assert f"{recordings[0]}: on several lines of the list" in merged.err
    rows = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert sorted(row["file"] for row in rows) == sorted(map(str, recordings))
    failed = sorted(Path(row["file"]) for row in rows if row["error"])
    assert failed == sorted(recordings[3:5])

    whole = phoneme_moe("transcribe", RUN, "--files-from", listed, "--out", tmp_path / "whole")
    assert whole.code == 1
    names = {path.relative_to(out): content for path, (_, content) in after.items()}
    assert names == {
        path.relative_to(tmp_path / "whole"): content
        for path, (_, content) in snapshot(tmp_path / "whole" / "transcripts").items()
    }


def test_failures_and_totals_are_for_people_and_programs(
    phoneme_moe: Command, recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    given = "".join(f"{path}\n" for path in recordings[:6])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    result = phoneme_moe("transcribe", RUN, "--files-from", "-", "--out", out)
    assert result.code == 1
    assert sorted(result.err.splitlines()) == sorted(
        [
            f"phoneme-moe: {recordings[3]}: no such file",
            f"phoneme-moe: {recordings[4]}: not readable as audio; expected WAV, FLAC, MP3, "
            "Ogg/Opus, AIFF or SPHERE",
        ]
    )
    assert result.out.startswith("shard 1 of 1: 4 transcribed, 0 already done, 2 failed\naudio: ")
    failures = [json.loads(line) for line in (out / "shards/1-of-1.failures.jsonl").open()]
    assert [(failure["file"], failure["error"].split(";")[0]) for failure in failures] == [
        (str(recordings[3]), "no such file"),
        (str(recordings[4]), "not readable as audio"),
    ]
    totals = ShardDocument.read(out / "shards/1-of-1.json")
    assert (totals.transcribed, totals.failed, totals.finished) == (4, 2, True)
    assert totals.core_hours is not None

    # The cause of a failure is removed: another number of shards makes it good.
    (tmp_path / "list").write_text(given)
    monkeypatch.chdir(recordings[0].parents[1])
    recordings[3].hardlink_to("bob.wav")
    try:
        codes = [
            phoneme_moe(*command(tmp_path / "list", out, f"{i}/3", "--skip-done")).code
            for i in (1, 2, 3)
        ]
    finally:
        recordings[3].unlink()
    assert sorted(codes) == [0, 0, 1]
    merged = phoneme_moe(
        "merge", out, "--out", tmp_path / "a.parquet", "--files-from", tmp_path / "list"
    )
    assert (merged.code, merged.err) == (0, "")
    assert "6 recordings: 5 transcribed" in merged.out


def test_merged_rows_are_the_transcripts(
    phoneme_moe: Command, recordings: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("\n".join(map(str, recordings[:4])))
    out = tmp_path / "out"
    phoneme_moe("transcribe", RUN, "--files-from", tmp_path / "list", "--out", out)
    phoneme_moe("merge", out, "--out", tmp_path / "all.parquet")
    table = pq.read_table(tmp_path / "all.parquet")
    assert table.schema.names == list(COLUMNS)
    for row in table.to_pylist():
        if row["error"] is not None:
            assert (row["file"], row["phonemes"]) == (str(recordings[3]), None)
            continue
        (path,) = ListFolder(out).paths(row["file"], [".json"])
        document = json.loads(path.read_text())
        assert row["phonemes"] == document["phonemes"]
        assert row["starts"] == [segment["start"] for segment in document["segments"]]
        assert row["ends"] == [segment["end"] for segment in document["segments"]]
        assert row["confidences"] == pytest.approx(
            [segment["confidence"] for segment in document["segments"]]
        )
        assert dict(row["routing"]) == pytest.approx(document["routing"])
        assert row["duration"] == document["duration"]
    described = json.loads(table.schema.metadata[b"columns"])
    assert described == {name: text for name, (_, text) in COLUMNS.items()}

    (path,) = ListFolder(out).paths(str(recordings[0]), [".json"])
    path.write_bytes(path.read_bytes()[:100])
    damaged = phoneme_moe("merge", out, "--out", tmp_path / "again.parquet")
    assert (damaged.code, damaged.err.count("\n")) == (1, 1)
    assert f"{path}: not valid JSON" in damaged.err
    assert not (tmp_path / "again.parquet").exists()


def test_a_transcript_of_no_line_is_named(
    phoneme_moe: Command, recordings: list[Path], tmp_path: Path
) -> None:
    out, listed = tmp_path / "out", tmp_path / "list"
    listed.write_text("\n".join(map(str, recordings[:3])))
    phoneme_moe("transcribe", RUN, "--files-from", listed, "--out", out)
    listed.write_text("\n".join(map(str, recordings[1:3])))
    result = phoneme_moe("merge", out, "--out", tmp_path / "a.parquet", "--files-from", listed)
    assert result.code == 1
    assert result.err.splitlines() == [
        f"phoneme-moe: {str(recordings[0])[1:]}: not in the list",
        f"phoneme-moe: {out}: expected the 2 recordings of {listed}, found 0 missing and 1 that "
        "are not in the list",
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--files-from", "list"], "--files-from: writes one file per recording, expected --out"),
        (["a.wav", "--files-from", "list", "--out", "out"], "--files-from: found audio as well"),
        (["a.wav", "--shard", "1/2"], "--shard: divides a list, expected --files-from LIST"),
        (["--files-from", "list", "--out", "out", "--shard", "0/2"], "--shard: found '0/2'"),
        (["--files-from", "none", "--out", "out"], "none: cannot be read"),
        (["--files-from", "list", "--out", "."], ".: found other files"),
        (["--files-from", "list", "--out", "out", "--nbest", "2"], "--nbest: found 2 with greedy"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(
    phoneme_moe: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list").write_text("a.wav\n")
    result = phoneme_moe("transcribe", RUN, *arguments)
    assert result.code == 1
    assert problem in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""


def test_no_audio_is_wrong_usage(phoneme_moe: Command) -> None:
    result = phoneme_moe("transcribe", RUN)
    assert result.code == 2
    assert "patterns, or --files-from" in result.err


def test_merge_needs_json(phoneme_moe: Command, recordings: list[Path], tmp_path: Path) -> None:
    listed, out = tmp_path / "list", tmp_path / "out"
    listed.write_text("\n".join(map(str, recordings[:3])))
    phoneme_moe("transcribe", RUN, "--files-from", listed, "--out", out, "--format", "txt")
    for check in ([], ["--files-from", listed]):
        result = phoneme_moe("merge", out, "--out", tmp_path / "a.parquet", *check)
        assert (result.code, result.err.count("\n")) == (1, 1)
        assert f"{out}: found no transcripts in JSON" in result.err
        assert not (tmp_path / "a.parquet").exists()


def test_merge_of_what_is_no_list(phoneme_moe: Command, tmp_path: Path) -> None:
    result = phoneme_moe("merge", tmp_path, "--out", tmp_path / "a.parquet")
    assert result.code == 1
    assert "found no folder shards" in result.err
