"""Label files beside recordings, in every format that they come in."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.errors import InputError
from phoneme_moe.labels.recordings import label_files, read_phonemes, read_words
from phoneme_moe.labels.textgrid import Interval
from phoneme_moe.labels.timed_rows import parse_timed_rows
from phoneme_moe.transcription.writers.textgrid import textgrid

TIMES = ((0.25, 0.5), (0.5, 0.75))
HTK = "0 2500000 sil\n2500000 5000000 t͡ʃ -10.5\n5000000 7500000 a\n"
SECONDS = "0.0 0.25 <p:>\n0.25\t0.5\tʧ\n0.5 0.75 a\n"
FESTIVAL = "signal a\nnfields 1\n#\n0.25 125 pau\n0.5 125 tʃ ; more\n0.75 -1 a\n"
AUDACITY = "0.25\t0.5\ttʃ\n\\\t100\t200\n0.5\t0.75\ta\n"


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    return file


@pytest.mark.parametrize("text", [HTK, SECONDS, FESTIVAL, AUDACITY, HTK.replace("\n", "\r\n\r\n")])
@pytest.mark.parametrize("suffix", [".lab", ".LAB", ".txt"])
def test_timed_rows(tmp_path: Path, text: str, suffix: str) -> None:
    labels = read_phonemes(written(tmp_path, f"a{suffix}", text))
    assert labels.symbols == ("tʃ", "a")
    assert labels.times is not None
    assert np.allclose(labels.times, TIMES)


@pytest.mark.parametrize("text", ["t͡ʃ a\n", "ʧ\na", "\ufefftʃ  a", "tʃ\ta\r\n"])
def test_plain_text(tmp_path: Path, text: str) -> None:
    labels = read_phonemes(written(tmp_path, "a.lab", text))
    assert (labels.symbols, labels.times) == (("tʃ", "a"), None)


@pytest.mark.parametrize("text", ["2 9 a", "1 2 3", "2 9", "2:", "", "1 2 a\nb"])
def test_xsampa_is_not_taken_for_times(tmp_path: Path, text: str) -> None:
    assert read_phonemes(written(tmp_path, "a.lab", text)).symbols == tuple(text.split())


@given(st.lists(st.integers(0, 10**8), min_size=2, max_size=9, unique=True))
def test_htk_times_are_those_that_were_written(edges: list[int]) -> None:
    edges = sorted(edges)
    edges[-1] += 100_000
    spans = list(itertools.pairwise(edges))
    rows = parse_timed_rows("".join(f"{a} {b} x\n" for a, b in spans), "a.lab")
    expected = tuple(Interval(a * 1e-7, b * 1e-7, "x") for a, b in spans)
    assert rows == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0.5 0.75 a\n0.25 0.5 b\n",
            r"a.lab: line 2: found 0.25 to 0.5 s, expected times in order",
        ),
        ("0.5 0.25 a\n", r"line 1: found 0.5 to 0.25 s"),
        ("0.5 1e999 a\n", r"line 1: found 0.5 to inf s"),
        (HTK + "t͡ʃ\n", r"a.lab: line 4: found 't͡ʃ', expected times and a label, as in other lines"),
        (FESTIVAL + "t͡ʃ\n", r"a.lab: line 7: found 't͡ʃ', expected times and a label"),
        ("#!MLF!#\n", r"a.lab: found a master label file of HTK"),
    ],
)
def test_unusable_rows_are_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_phonemes(written(tmp_path, "a.lab", text))


def test_textgrids(tmp_path: Path) -> None:
    words = ([(250, 750)], ["cha"])
    phones = ([(0, 250), (250, 500), (500, 750)], ["SIL", "t͡ʃ", " a "])
    file = written(tmp_path, "a.TextGrid", textgrid({"words": words, "phones": phones}, 1.0))
    labels = read_phonemes(file)
    assert (labels.symbols, labels.times) == (("tʃ", "a"), TIMES)
    assert read_words(file).symbols == ("cha",)
    assert read_phonemes(file, "words").symbols == ("cha",)
    with pytest.raises(
        InputError, match=r"a\.TextGrid: expected a tier 'wrds', found 'words', 'ph"
    ):
        read_phonemes(file, "wrds")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_textgrid_is_known_by_its_content(tmp_path: Path, encoding: str) -> None:
    grid = textgrid({"phones": ([(250, 500), (500, 750)], ["tʃ", "a"])}, 1.0)
    (tmp_path / "a.txt").write_bytes(grid.encode(encoding))
    assert read_phonemes(tmp_path / "a.txt").times == TIMES
    with pytest.raises(InputError, match=r"a\.TextGrid: line 1: expected the file type"):
        read_phonemes(written(tmp_path, "a.TextGrid", "tʃ a"))
    with pytest.raises(InputError, match=r"b\.TextGrid: cannot be read"):
        read_phonemes(tmp_path / "b.TextGrid")


def test_an_interval_of_several_phonemes_has_no_times(tmp_path: Path) -> None:
    grid = textgrid({"phonemes": ([(100, 300), (300, 400)], ["t a", "k"])}, 1.0)
    labels = read_phonemes(written(tmp_path, "a.TextGrid", grid))
    assert (labels.symbols, labels.times) == (("t", "a", "k"), None)


def test_words_that_look_like_silences(tmp_path: Path) -> None:
    text = "0.0 0.5 <p:>\n0.5 0.6 pau\n0.6 0.7 #\n0.7 0.8 sil\n"
    assert read_words(written(tmp_path, "a.txt", text)).symbols == ("pau", "sil")


def moved(grid: str, offset: float) -> str:
    """The TextGrid of a part that was cut out with its times preserved."""
    lines = []
    for line in grid.split("\n"):
        key, equals, value = line.partition(" = ")
        if key.strip() in {"xmin", "xmax"}:
            line = f"{key}{equals}{float(value) + offset}"
        lines.append(line)
    return "\n".join(lines)


@pytest.mark.parametrize("offset", [0.0, 7.5])
def test_labels_of_a_part_begin_with_the_recording(tmp_path: Path, offset: float) -> None:
    grid = textgrid({"phonemes": (([(250, 500), (500, 750)]), ["t", "a"])}, 1.0)
    labels = read_phonemes(written(tmp_path, "a.TextGrid", moved(grid, offset)))
    times = labels.within(1.0).times
    assert times is not None
    assert np.allclose(times, TIMES)


def test_labels_that_end_after_the_recording(tmp_path: Path) -> None:
    grid = textgrid({"phonemes": (([(250, 500), (500, 750)]), ["t", "a"])}, 1.0)
    labels = read_phonemes(written(tmp_path, "a.TextGrid", grid))
    assert labels.within(0.7).times == ((0.25, 0.5), (0.5, 0.7))
    for duration in (0.6, 0.5):
        with pytest.raises(InputError, match=r"labels from 0.250 to 0.750 s, but the recording la"):
            labels.within(duration)
    early = read_phonemes(written(tmp_path, "b.TextGrid", moved(grid, -0.5)))
    with pytest.raises(InputError, match=r"labels from -0.250 to 0.250 s"):
        early.within(1.0)


def test_label_files_are_found_beside_recordings(tmp_path: Path) -> None:
    for name in ("a.TextGrid", "a.lab", "a.txt", "b.LAB", "b.txt", "c.TXT", "d.phn", "._e.txt"):
        (tmp_path / name).touch()
    recordings = [tmp_path / f"{letter}.wav" for letter in "abcde"]
    found = {recording.stem: file.name for recording, file in label_files(recordings).items()}
    assert found == {"a": "a.TextGrid", "b": "b.LAB", "c": "c.TXT"}
