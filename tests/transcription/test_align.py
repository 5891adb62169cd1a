"""Forced alignment and goodness of pronunciation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pytest
import soundfile
import tiny
import torch
from praatio import textgrid

from phoneme_moe.corpora.lexicon import Lexicon
from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import Trained
from phoneme_moe.transcription.align import (
    align_phonemes,
    align_text,
)
from phoneme_moe.transcription.goodness import goodness_of_pronunciation
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.writers.textgrid import textgrid as write_textgrid

if TYPE_CHECKING:
    from conftest import Outcome

SPOKEN = ["a", "s", "i", "m", "a"]


@pytest.fixture
def spoken(tmp_path: Path) -> tuple[Path, list[tuple[str, float, float]]]:
    samples, times = tiny.speak(SPOKEN, "ann", np.random.default_rng(12))
    path = tmp_path / "ann.wav"
    soundfile.write(path, samples, tiny.RATE)
    return path, times


def test_phonemes_are_aligned_where_they_are_spoken(
    recognized: Trained, spoken: tuple[Path, list[tuple[str, float, float]]]
) -> None:
    path, times = spoken
    alignment = align_phonemes(RunEngine(recognized.run), path, SPOKEN)
    assert list(alignment.transcript.phonemes) == SPOKEN
    for segment, (_, start, duration) in zip(alignment.transcript.segments, times, strict=True):
        assert segment.start == pytest.approx(start, abs=0.08)
        assert segment.end == pytest.approx(start + duration, abs=0.08)


def test_a_wrong_phoneme_has_goodness_below_zero(
    recognized: Trained, spoken: tuple[Path, list[tuple[str, float, float]]]
) -> None:
    path, _ = spoken
    engine = RunEngine(recognized.run)
    right = align_phonemes(engine, path, SPOKEN)
    assert min(right.goodness) > 0
    assert list(right.best) == SPOKEN
    wrong = align_phonemes(engine, path, ["a", "s", "a", "m", "a"])  # an a where an i was
    assert int(np.argmin(wrong.goodness)) == 2
    assert wrong.goodness[2] < 0
    assert wrong.best[2] == "i"
    more = align_phonemes(engine, path, ["a", "s", "i", "m", "s", "a"])
    assert more.goodness[4] < 0
    assert more.best[4] == ""


def test_goodness_by_hand() -> None:
    # One frame for each phoneme, no blanks: the only alignment of "1 2" in two frames.
    log_posteriors = torch.log(torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.3, 0.5]]))
    goodness, best = goodness_of_pronunciation(log_posteriors, [1, 2], np.array([[0, 1], [1, 2]]))
    # In the first place: none: "2" = both frames 2, or blank and 2; "2 2" needs three frames.
    alone = 0.3 * 0.5 + 0.1 * 0.5 + 0.3 * 0.2
    assert goodness[0] == pytest.approx(np.log(0.6 * 0.5 / alone), abs=1e-5)
    ones = 0.6 * 0.3 + 0.6 * 0.2 + 0.1 * 0.3
    assert goodness[1] == pytest.approx(np.log(0.6 * 0.5 / ones), abs=1e-5)
    assert best == ([1, 0] if ones > 0.6 * 0.5 else [1, 2])


def test_a_text_goes_by_its_likeliest_pronunciations(
    recognized: Trained, spoken: tuple[Path, list[tuple[str, float, float]]]
) -> None:
    path, _ = spoken
    lexicon = Lexicon([("ass", ("m", "m")), ("ass", ("a", "s")), ("ima", ("i", "m", "a"))])
    alignment = align_text(RunEngine(recognized.run), path, "Ass, ima!", lexicon)
    assert list(alignment.transcript.phonemes) == SPOKEN
    assert [word.word for word in alignment.words] == ["ass", "ima"]
    segments = alignment.transcript.segments
    assert (alignment.words[0].start, alignment.words[0].end) == (
        segments[0].start,
        segments[1].end,
    )
    assert (alignment.words[1].start, alignment.words[1].end) == (
        segments[2].start,
        segments[4].end,
    )
    with pytest.raises(InputError, match="'mia' is not in the lexicon"):
        align_text(RunEngine(recognized.run), path, "mia", lexicon)
    with pytest.raises(InputError, match="at least one word"):
        align_text(RunEngine(recognized.run), path, " ... ", lexicon)


def test_the_command_writes_what_other_tools_read(
    recognized: Trained,
    spoken: tuple[Path, list[tuple[str, float, float]]],
    phoneme_moe: Callable[..., Outcome],
    tmp_path: Path,
) -> None:
    path, _ = spoken
    run = recognized.run.folder
    (tmp_path / "lexicon.txt").write_text("ASS  A S\nASS(2)  a s\nIMA  i m a\n")
    text = ["--text", "ass ima", "--lexicon", tmp_path / "lexicon.txt"]
    (tmp_path / "lexicon.txt").write_text("ASS  a s\nASS(2)  m s\nIMA  i m a\n")
    table = phoneme_moe("align", run, path, *text)
    assert table.code == 0
    assert [line.split()[0] for line in table.out.splitlines()[1:-1]] == SPOKEN
    data = json.loads(phoneme_moe("align", run, path, *text, "--format", "json").out)
    assert [segment["phoneme"] for segment in data["segments"]] == SPOKEN
    assert [word["word"] for word in data["words"]] == ["ass", "ima"]
    schema = Path(__file__).parents[2] / "docs" / "schemas" / "alignment.schema.json"
    jsonschema.validate(data, json.loads(schema.read_text()), jsonschema.Draft202012Validator)
    out = tmp_path / "ann.TextGrid"
    assert phoneme_moe("align", run, path, *text, "--format", "textgrid", "--out", out).code == 0
    grid = textgrid.openTextgrid(str(out), includeEmptyIntervals=False)
    assert grid.tierNames[:2] == ("words", "phonemes")
    assert [entry.label for entry in grid.getTier("words").entries] == ["ass", "ima"]
    assert len(grid.getTier("goodness").entries) == len(SPOKEN)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "found no labels beside it"),
        (["--phonemes", "a", "--text", "x", "--lexicon", "y"], "one of --phonemes, --textgrid"),
        (["--text", "ass"], "expected both"),
        (["--phonemes", " "], "found none"),
        (["--phonemes", "a q"], "'q' is not in the phoneme set"),
        (["--phonemes", "a s " * 100], "need at least"),
        (["--text", "ass", "--lexicon", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_what_cannot_be_aligned_is_refused_in_one_line(
    recognized: Trained,
    spoken: tuple[Path, list[tuple[str, float, float]]],
    phoneme_moe: Callable[..., Outcome],
    arguments: list[str],
    problem: str,
) -> None:
    outcome = phoneme_moe("align", recognized.run.folder, spoken[0], *arguments)
    assert outcome.code == 1
    assert problem in outcome.err
    assert outcome.err.count("\n") == 1


def test_tokens_are_not_aligned(
    classified: Trained, spoken: tuple[Path, list[tuple[str, float, float]]]
) -> None:
    with pytest.raises(InputError, match="one token"):
        align_phonemes(RunEngine(classified.run), spoken[0], ["a"])


@pytest.fixture
def labelled(tmp_path: Path, spoken: tuple[Path, list[tuple[str, float, float]]]) -> Path:
    """A TextGrid in UTF-16 with the phonemes as they were spoken, and a tier of words."""
    path, times = spoken
    file = path.with_suffix(".TextGrid")
    edges = [(round(1000 * start), round(1000 * (start + length))) for _, start, length in times]
    words = ([(edges[0][0], edges[-1][1])], ["asima"])
    tiers = {"words": words, "Phones": (edges, SPOKEN)}
    file.write_bytes(write_textgrid(tiers, soundfile.info(path).duration).encode("utf-16"))
    return file


def test_the_phonemes_of_a_textgrid_are_aligned_and_compared(
    recognized: Trained,
    spoken: tuple[Path, list[tuple[str, float, float]]],
    labelled: Path,
    phoneme_moe: Callable[..., Outcome],
    tmp_path: Path,
) -> None:
    path, times = spoken
    run = recognized.run.folder
    plain = json.loads(
        phoneme_moe("align", run, path, "--phonemes", " ".join(SPOKEN), "--format", "json").out
    )
    command = ("align", run, path, "--textgrid", labelled)
    found = json.loads(phoneme_moe(*command, "--format", "json").out)
    schema = Path(__file__).parents[2] / "docs" / "schemas" / "alignment.schema.json"
    jsonschema.validate(found, json.loads(schema.read_text()), jsonschema.Draft202012Validator)
    for segment, other, (_, start, length) in zip(
        found["segments"], plain["segments"], times, strict=True
    ):
        assert segment["labelled_start"] == pytest.approx(start, abs=1e-3)
        assert segment["labelled_end"] == pytest.approx(start + length, abs=1e-3)
        assert other["labelled_start"] is None
        assert (segment["start"], segment["end"]) == (other["start"], other["end"])

    table = phoneme_moe(*command, "--tier", "phones").out.splitlines()
    assert table[0].split()[3:5] == ["dstart", "dend"]
    for row, segment in zip(table[1:], found["segments"], strict=False):
        difference = round(1000 * (segment["start"] - segment["labelled_start"]))
        assert int(row.split()[3]) == difference
    assert table[-1].startswith("5 onsets: median difference ")

    rows = phoneme_moe(*command, "--format", "csv").out.splitlines()
    assert rows[0].endswith(",best,labelled_start,labelled_end,score")
    written = tmp_path / "out.TextGrid"
    phoneme_moe(*command, "--format", "textgrid", "--out", written)
    grid = textgrid.openTextgrid(str(written), includeEmptyIntervals=False)
    assert [entry.label for entry in grid.getTier("labelled").entries] == SPOKEN
    edges = [(entry.start, entry.end) for entry in grid.getTier("labelled").entries]
    assert edges == [(s["labelled_start"], s["labelled_end"]) for s in found["segments"]]

    alignment = recognized.run.align(path, textgrid=labelled)
    assert [round(start, 3) for start, _ in alignment.labelled] == [e[0] for e in edges]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tier", "words"), ".TextGrid: phoneme 'asima' is not in the phoneme set"),
        (("--tier", "phrases"), "expected a tier 'phrases', found 'words', 'Phones'"),
        (("--phonemes", "a"), "align: expected one of --phonemes, --textgrid, and --text"),
    ],
)
def test_unusable_tiers(
    recognized: Trained,
    labelled: Path,
    phoneme_moe: Callable[..., Outcome],
    options: tuple[str, str],
    message: str,
) -> None:
    audio = labelled.with_suffix(".wav")
    outcome = phoneme_moe("align", recognized.run.folder, audio, "--textgrid", labelled, *options)
    assert outcome.code != 0
    assert message in outcome.err
