"""``phoneme-moe transcribe`` as people and programs use it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import tiny

from phoneme_moe.pipeline import Trained
from phoneme_moe.transcription.formats import FORMATS

if TYPE_CHECKING:
    from conftest import Outcome

Command = Callable[..., "Outcome"]


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    folder = tmp_path / "voices"
    folder.mkdir()
    random = np.random.default_rng(1)
    for speaker in ("ann", "bob", "carol"):
        samples, _ = tiny.speak(["a", "s", "i", "m"], speaker, random)
        soundfile.write(folder / f"{speaker}.wav", samples, tiny.RATE)
    return folder


def test_all_formats_are_written_and_done_ones_left_alone(
    phoneme_moe: Command, recognized: Trained, voices: Path, tmp_path: Path
) -> None:
    run, out = recognized.run.folder, tmp_path / "out"
    result = phoneme_moe("transcribe", run, voices, "--format", "all", "--out", out)
    assert (result.code, result.err) == (0, "")
    written = list(out.glob("[!.]*"))
    assert len(written) == 3 * len(FORMATS)
    assert sorted(result.out.splitlines()) == sorted(map(str, written))
    before = {path: path.stat().st_mtime_ns for path in written}
    (out / "bob.vtt").unlink()
    again = phoneme_moe("transcribe", run, voices, "--format", "all", "--out", out, "--skip-done")
    assert again.code == 0
    assert "2 of 3 already done" in again.err
    assert {Path(line).stem for line in again.out.splitlines()} == {"bob"}
    for path, when in before.items():
        assert path.stem == "bob" or path.stat().st_mtime_ns == when


def test_formats_on_stdout_are_one_document(
    phoneme_moe: Command, recognized: Trained, voices: Path
) -> None:
    run = recognized.run.folder
    table = phoneme_moe("transcribe", run, voices, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(table)))
    assert {Path(row["file"]).stem for row in rows} == {"ann", "bob", "carol"}
    lines = phoneme_moe("transcribe", run, voices, "--format", "jsonl").out.splitlines()
    phonemes = [p for line in lines for p in json.loads(line)["phonemes"]]
    assert [row["phoneme"] for row in rows] == phonemes
    assert phoneme_moe("transcribe", run, voices, "--format", "vtt").out.count("WEBVTT") == 1


def test_a_file_on_stdin_is_as_the_file(recognized: Trained, voices: Path) -> None:
    command = [sys.executable, "-m", "phoneme_moe", "transcribe", str(recognized.run.folder)]
    path = voices / "ann.wav"
    named = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    piped = subprocess.run([*command, "-"], input=path.read_bytes(), capture_output=True)
    assert piped.returncode == 0
    assert piped.stdout.decode().split("\t")[1] == named.stdout.split("\t")[1]
    nothing = subprocess.run([*command, "-"], input=b"", capture_output=True)
    assert nothing.returncode == 1
    assert b"-: the file is empty" in nothing.stderr


def test_a_pattern_is_the_files_that_match(
    phoneme_moe: Command, recognized: Trained, voices: Path
) -> None:
    run = recognized.run.folder
    result = phoneme_moe("transcribe", run, voices / "*o*.wav")
    assert [Path(line.split("\t")[0]).stem for line in result.out.splitlines()] == ["bob", "carol"]
    none = phoneme_moe("transcribe", run, voices / "x*.wav")
    assert none.code == 1
    assert "no file matches the pattern" in none.err


def test_nbest(phoneme_moe: Command, recognized: Trained, voices: Path) -> None:
    run, path = recognized.run.folder, voices / "ann.wav"
    arguments = ["--beam", "8", "--nbest", "4", "--format", "json"]
    (line,) = phoneme_moe("transcribe", run, path, *arguments).out.splitlines()
    data = json.loads(line)
    scores = [other["score"] for other in data["alternatives"]]
    assert 2 <= len(scores) <= 4
    assert scores == sorted(scores, reverse=True)
    assert data["alternatives"][0]["phonemes"] == data["phonemes"]
    hypotheses = [tuple(other["phonemes"]) for other in data["alternatives"]]
    assert len(set(hypotheses)) == len(hypotheses)
    refused = phoneme_moe("transcribe", run, path, "--nbest", "2", "--format", "json")
    assert refused.code == 1
    assert "--nbest: found 2 with greedy decoding" in refused.err


def test_routing_is_overridden(phoneme_moe: Command, recognized: Trained, voices: Path) -> None:
    run, path = recognized.run.folder, voices / "ann.wav"

    def routing(*arguments: str) -> dict[str, float]:
        result = phoneme_moe("transcribe", run, path, "--format", "json", *arguments)
        assert result.code == 0, result.err
        found: dict[str, float] = json.loads(result.out)["routing"]
        return found

    assert routing("--only-expert", "bob")["bob"] == 1
    without = routing("--without-expert", "ann")
    assert without["ann"] == 0
    assert sum(without.values()) == pytest.approx(1, abs=1e-3)
    assert routing("--gate-from", "uniform") == pytest.approx(
        dict.fromkeys(("ann", "bob", "carol"), 1 / 3), abs=1e-3
    )
    shares = routing("--gate-from", "bob")
    assert shares != pytest.approx(routing(), abs=1e-3)
    both = routing("--only-expert", "ann,carol", "--gate-from", "uniform")
    assert both == pytest.approx({"ann": 0.5, "bob": 0, "carol": 0.5}, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--only-expert", "anne"], "did you mean 'ann'"),
        (["--without-expert", "ann,bob,carol"], "--without-expert: no expert is left"),
        (["--gate-from", "nobody"], "no speaker 'nobody'"),
        (["--layer", "block_1"], "--layer"),
        (["--symbols", "ipa"], "phoneme"),
        (["--fold", "timit93"], "did you mean 'timit39'"),
        (["--format", "all"], "expected --out"),
        (["--skip-done"], "expected --out"),
        (["--nbest", "3"], "--nbest 3: the n-best list is in json and jsonl, found --format txt"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(
    phoneme_moe: Command, recognized: Trained, voices: Path, arguments: list[str], problem: str
) -> None:
    result = phoneme_moe("transcribe", recognized.run.folder, voices, *arguments)
    if arguments == ["--symbols", "ipa"] and result.code == 0:
        return  # a, i, m and s are IPA already
    assert result.code == 1
    assert problem in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""


def test_raw_samples_in_a_folder_are_left_out_with_a_line(
    phoneme_moe: Command, recognized: Trained, voices: Path
) -> None:
    without = phoneme_moe("transcribe", recognized.run.folder, voices)
    for name in ("a.raw", "b.PCM"):
        (voices / name).write_bytes(bytes(1600))
    result = phoneme_moe("transcribe", recognized.run.folder, voices)
    assert (result.code, result.out) == (0, without.out)
    assert result.err == (
        f"phoneme-moe: {voices / 'a.raw'} (and 1 more): left out, raw samples have no header\n"
    )


def bad_files(folder: Path) -> dict[str, str]:
    """Recordings that cannot be used, and a part of the message for each."""
    rate = tiny.RATE
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, rate)
    soundfile.write(folder / "nan.wav", np.full(rate, np.nan), rate, subtype="FLOAT")
    soundfile.write(folder / "short.wav", noise[: rate // 50], rate)
    soundfile.write(folder / "nothing.wav", noise[:0], rate)
    soundfile.write(folder / "cut.wav", noise, rate)
    whole = (folder / "cut.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[:-3000])
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("once upon a time\n" * 40)
    return {
        "nan.wav": "NaN",
        "short.wav": "too short",
        "nothing.wav": "too short",
        "cut.wav": "truncated",
        "empty.wav": "empty",
        "text.wav": "not readable as audio",
    }


def good_files(folder: Path) -> list[str]:
    """Recordings that are odd and can be used."""
    random = np.random.default_rng(2)
    noise = random.uniform(-0.1, 0.1, 48_000)
    soundfile.write(folder / "zeros.wav", np.zeros(8000), 8000)
    soundfile.write(folder / "eight_bit.wav", noise[:8000], 8000, subtype="PCM_U8")
    soundfile.write(folder / "fast.wav", random.uniform(-0.1, 0.1, 192_000), 192_000)
    soundfile.write(folder / "twelve.wav", np.stack([noise] * 12, axis=1), 48_000)
    soundfile.write(folder / "o.ogg", noise, 48_000, format="OGG", subtype="OPUS")
    soundfile.write(folder / "m.mp3", noise, 48_000, format="MP3")
    soundfile.write(folder / "a.aiff", noise, 48_000)
    return ["zeros", "eight_bit", "fast", "twelve", "o", "m", "a"]


def test_bad_recordings_are_named_and_all_others_done(
    phoneme_moe: Command, recognized: Trained, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    problems, good = bad_files(folder), good_files(folder)
    out = tmp_path / "out"
    result = phoneme_moe(
        "transcribe", recognized.run.folder, folder, "--out", out, "--format", "json"
    )
    assert result.code == 1
    *lines, last = result.err.splitlines()
    assert last == f"phoneme-moe: {len(problems)} of {len(problems) + len(good)} files failed"
    assert len(lines) == len(problems)
    for name, problem in problems.items():
        (line,) = [line for line in lines if f"/{name}: " in line]
        assert problem in line
    assert {path.stem for path in out.glob("*.json")} == set(good)
    assert json.loads((out / "zeros.json").read_text())["silences"] == [[0.0, 1.0]]


def test_an_empty_name_is_not_this_folder(phoneme_moe: Command, recognized: Trained) -> None:
    result = phoneme_moe("transcribe", recognized.run.folder, "")
    assert result.code == 2
    assert result.out == ""
    assert "found an empty name" in " ".join(result.err.split())


def test_a_channel_is_chosen(phoneme_moe: Command, recognized: Trained, tmp_path: Path) -> None:
    run, random = recognized.run.folder, np.random.default_rng(1)
    samples, _ = tiny.speak(["a", "s", "i", "m"], "ann", random)
    soundfile.write(tmp_path / "mono.wav", samples, tiny.RATE)
    other = random.uniform(-0.5, 0.5, len(samples))
    soundfile.write(tmp_path / "stereo.wav", np.stack([other, samples], axis=1), tiny.RATE)
    mono = phoneme_moe("transcribe", run, tmp_path / "mono.wav").out.split("\t")[1]
    second = phoneme_moe("transcribe", run, tmp_path / "stereo.wav", "--channel", "2")
    assert second.out.split("\t")[1] == mono
    third = phoneme_moe("transcribe", run, tmp_path / "stereo.wav", "--channel", "3")
    assert third.code == 1
    assert "stereo.wav: no channel 3: the file has 2" in third.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_reported_in_one_line(recognized: Trained, voices: Path) -> None:
    command = f"{sys.executable} -m phoneme_moe transcribe {recognized.run.folder} {voices}"
    done = subprocess.run(
        ["bash", "-c", f"{command} > /dev/full"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_vanishes_is_named(
    phoneme_moe: Command, recognized: Trained, voices: Path
) -> None:
    (voices / "gone.wav").symlink_to(voices / "nowhere.wav")
    run = recognized.run.folder
    result = phoneme_moe("transcribe", run, voices / "gone.wav", voices / "ann.wav")
    assert result.code == 1
    assert "gone.wav: no such file" in result.err
    assert result.out.count("\n") == 1


def test_evaluate_prints_the_change_of_the_error(phoneme_moe: Command, recognized: Trained) -> None:
    run = recognized.run.folder
    plain = phoneme_moe("evaluate", run)
    assert "without these options" not in plain.out
    for arguments in (["--beam", "8"], ["--only-expert", "bob"], ["--gate-from", "uniform"]):
        result = phoneme_moe("evaluate", run, *arguments)
        assert result.code == 0
        assert "PER without these options" in result.out
    wrong = phoneme_moe("evaluate", run, "--only-expert", "nobody")
    assert (wrong.code, wrong.err.count("\n")) == (1, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_watched_run_shows_a_bar_and_still_fills_its_file(
    recognized: Trained, voices: Path, tmp_path: Path
) -> None:
    import pty

    watched, terminal = pty.openpty()
    command = [sys.executable, "-m", "phoneme_moe", "transcribe", str(recognized.run.folder)]
    (voices / "bad.wav").write_text("no audio")
    with (tmp_path / "out.txt").open("wb") as out:
        process = subprocess.Popen([*command, str(voices)], stdout=out, stderr=terminal)
        os.close(terminal)
        shown = b""
        while True:
            try:
                read = os.read(watched, 1 << 16)
            except OSError:  # the terminal is closed at the other end
                break
            if not read:
                break
            shown += read
        assert process.wait() == 1
    os.close(watched)
    assert b"transcribing" in shown
    assert b"not readable as audio" in shown
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 3


def test_a_folder_or_pattern_with_nothing_in_it_does_not_stop_the_others(
    phoneme_moe: Command, recognized: Trained, tmp_path: Path
) -> None:
    good = tmp_path / "good.wav"
    soundfile.write(good, tiny.tone(400, 0.5), tiny.RATE)
    (tmp_path / "none").mkdir()
    result = phoneme_moe(
        "transcribe", recognized.run.folder, tmp_path / "none", good, tmp_path / "*.flac"
    )
    assert result.code == 1
    assert result.out.startswith(f"{good}\t")
    lines = result.err.splitlines()
    assert lines[0].startswith(
        f"phoneme-moe: {tmp_path / 'none'}: the folder contains no audio files"
    )
    assert lines[1] == f"phoneme-moe: {tmp_path / '*.flac'}: no file matches the pattern"
    assert lines[2:] == ["phoneme-moe: 2 of 3 files failed"]
