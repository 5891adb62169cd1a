"""``align`` on many recordings with their labels beside them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import tiny

from phoneme_moe.pipeline import Trained
from phoneme_moe.transcription.writers.textgrid import textgrid

if TYPE_CHECKING:
    from conftest import Outcome

Command = Callable[..., "Outcome"]

RUN = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "gate"
SPOKEN = {"ann": ["a", "s", "i"], "bob": ["m", "a"], "carol": ["s", "i", "m"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings with a TextGrid, an HTK label file and a text beside them."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    random = np.random.default_rng(3)
    for name, phonemes in SPOKEN.items():
        samples, times = tiny.speak(phonemes, name, random)
        soundfile.write(folder / f"{name}.wav", samples, tiny.RATE)
        if name == "ann":
            edges = [(round(1000 * s), round(1000 * (s + d))) for _, s, d in times]
            grid = textgrid({"phones": (edges, phonemes)}, len(samples) / tiny.RATE)
            (folder / "ann.TextGrid").write_text(grid)
        elif name == "bob":
            rows = [f"{round(1e7 * s)} {round(1e7 * (s + d))} {p}" for p, s, d in times]
            (folder / "bob.lab").write_text("\n".join(rows) + "\n")
        else:
            (folder / "carol.txt").write_text(" ".join(phonemes))
    return folder


def test_each_is_aligned_as_alone(phoneme_moe: Command, folder: Path, tmp_path: Path) -> None:
    run, out = RUN, tmp_path / "out"
    result = phoneme_moe("align", run, folder, "--format", "json", "--out", out)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [str(out / f"{name}.json") for name in SPOKEN]
    for name, phonemes in SPOKEN.items():
        together = json.loads((out / f"{name}.json").read_text())
        given = ["--phonemes", " ".join(phonemes), "--format", "json"]
        alone = json.loads(phoneme_moe("align", run, folder / f"{name}.wav", *given).out)
        for segment in together["segments"]:
            labelled = segment.pop("labelled_start"), segment.pop("labelled_end")
            assert (None in labelled) == (name == "carol")
        for segment in alone["segments"]:
            del segment["labelled_start"], segment["labelled_end"]
        assert together == alone


def test_tables_stand_under_their_recordings(phoneme_moe: Command, folder: Path) -> None:
    run = RUN
    result = phoneme_moe("align", run, folder)
    assert (result.code, result.err) == (0, "")
    for name, table in zip(SPOKEN, result.out.split("\n\n"), strict=True):
        first, heading, *rows = table.splitlines()
        assert first == str(folder / f"{name}.wav")
        assert heading.startswith("phoneme ")
        assert [row.split()[0] for row in rows[: len(SPOKEN[name])]] == SPOKEN[name]


def test_csv_has_one_header(phoneme_moe: Command, folder: Path) -> None:
    result = phoneme_moe("align", RUN, folder / "*.wav", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [row["phoneme"] for row in rows] == [p for spoken in SPOKEN.values() for p in spoken]
    assert {Path(row["file"]).stem for row in rows} == set(SPOKEN)


def test_words_are_looked_up(phoneme_moe: Command, folder: Path, tmp_path: Path) -> None:
    (folder / "carol.txt").write_text("See him!")
    (tmp_path / "lexicon").write_text("see s i\nhim m\n")
    run, recording = RUN, folder / "carol.wav"
    words = phoneme_moe("align", run, recording, "--lexicon", tmp_path / "lexicon")
    assert (words.code, words.err) == (0, "")
    phonemes = phoneme_moe("align", run, recording, "--phonemes", "s i m")
    assert words.out == f"{recording}\n{phonemes.out}"


def test_unusable_recordings_are_named_and_skipped(
    phoneme_moe: Command, folder: Path, tmp_path: Path
) -> None:
    (folder / "ann.TextGrid").unlink()
    (folder / "bob.lab").write_text("m x")
    run = RUN
    result = phoneme_moe("align", run, folder, tmp_path / "missing.wav", "--format", "ctm")
    assert result.code == 1
    assert [line.split()[0] for line in result.out.splitlines()] == ["carol"] * 3
    ann, bob, missing, total = result.err.splitlines()
    expected = "expected ann.TextGrid, .lab or .txt"
    assert f"{folder / 'ann.wav'}: found no labels beside it, {expected}" in ann
    assert f"{folder / 'bob.lab'}: phoneme 'x' is not in the phoneme set" in bob
    assert "missing.wav: No such file" in missing
    assert total == "phoneme-moe: 3 of 4 files failed"


def test_a_word_outside_the_lexicon_is_named_with_its_file(
    phoneme_moe: Command, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "lexicon").write_text("see s i\n")
    result = phoneme_moe("align", RUN, folder / "carol.wav", "--lexicon", tmp_path / "lexicon")
    assert (result.code, result.out) == (1, "")
    assert result.err == f"phoneme-moe: {folder / 'carol.txt'}: 's' is not in the lexicon\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--format", "textgrid"], "--format textgrid: one file per recording, expected --out"),
        (["--phonemes", "a"], "found 3 recordings, expected one with --phonemes"),
        (["--symbols", "ipaa"], "--symbols: found 'ipaa' (did you mean 'ipa'?)"),
    ],
)
def test_what_does_not_go_together_is_refused_once(
    phoneme_moe: Command, folder: Path, arguments: list[str], problem: str
) -> None:
    result = phoneme_moe("align", RUN, folder, *arguments)
    assert (result.code, result.out) == (1, "")
    assert problem in result.err
    assert len(result.err.splitlines()) == 1


def test_a_classifier_is_refused_once(
    phoneme_moe: Command, classified: Trained, folder: Path
) -> None:
    result = phoneme_moe("align", classified.run.folder, folder)
    assert (result.code, result.out) == (1, "")
    assert "classifies single tokens" in result.err
    assert len(result.err.splitlines()) == 1


def test_symbols_of_the_user_go_in_and_out(
    phoneme_moe: Command, folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "mine.tsv"
    table.write_text("# own\tIPA\na\tɑ\ni\tiː\nm\tm\ns\ts\n", encoding="utf-8")
    (folder / "carol.txt").write_text("s iː m", encoding="utf-8")
    run, recording = RUN, folder / "carol.wav"
    options = ["--symbols", table, "--format", "json"]
    result = phoneme_moe("align", run, recording, "--phonemes", "s iː m", *options)
    assert (result.code, result.err) == (0, "")
    aligned = json.loads(result.out)
    plain = json.loads(
        phoneme_moe("align", run, recording, "--phonemes", "s i m", "--format", "json").out
    )
    assert aligned["symbols"] == str(table)
    assert aligned["phonemes"] == ["s", "iː", "m"]
    names = {"a": "ɑ", "i": "iː", "": ""}
    for one, other in zip(aligned["segments"], plain["segments"], strict=True):
        assert one["start"] == other["start"]
        assert one["best"] == names.get(other["best"], other["best"])
    beside = phoneme_moe("align", run, recording, "--symbols", table, "--format", "ctm")
    assert [line.split()[4] for line in beside.out.splitlines()] == ["s", "iː", "m"]
    transcribed = phoneme_moe("transcribe", run, recording, *options)
    own = phoneme_moe("transcribe", run, recording, "--format", "json")
    assert json.loads(transcribed.out)["phonemes"] == [
        names.get(p, p) for p in json.loads(own.out)["phonemes"]
    ]
