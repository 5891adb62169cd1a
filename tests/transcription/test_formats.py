"""Transcripts are read back by the tools that their formats are for."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import webvtt
from hypothesis import example, given, settings
from hypothesis import strategies as st
from praatio import textgrid as praatio_textgrid

from phoneme_moe.decoding.decoder import Segment
from phoneme_moe.files.csv_text import original_cell
from phoneme_moe.transcription.formats import FORMATS
from phoneme_moe.transcription.transcript import Alternative, Transcript, whole_millisecond_edges
from phoneme_moe.transcription.writers.documents import to_dict
from phoneme_moe.transcription.writers.transcripts import (
    CUE_PHONEMES,
    CUE_SECONDS,
)

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "transcript.schema.json").read_text()
)
EXPERTS = ("ann", 'b"o,b', "дан")

Span = tuple[float, float, str]


def transcript(
    *segments: Span, duration: float, path: str = "x/a b.wav", experts: int = 2
) -> Transcript:
    """A transcript whose every phoneme is as sure, led by the first expert."""
    weights = dict(zip(EXPERTS, [0.75, 0.2496, 0.0004][:experts], strict=False))
    return Transcript(
        path=Path(path),
        duration=duration,
        segments=tuple(Segment(p, start, end, 0.5, weights) for start, end, p in segments),
        silences=((0.0, min(0.02, duration)), (duration - 1e-5, duration)),
        routing=weights,
        run="runs/tiny",
        recipe="tiny",
        fold="timit39",
        symbols="ipa",
        alternatives=(Alternative(("b",), -1.25),),
    )


# Letters of any script, marks, signs, quotes; never white space or control characters.
symbols = st.text(
    st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=4
) | st.sampled_from(['"', '""', "<i>", "&amp;", "{", "ɯᵝ", "ə̥", "אָ", "NOTE", "1", ",", "intervals"])
paths = st.text("aß א,\"'/.&<-語", min_size=1, max_size=12).map(lambda name: f"{name}.wav")


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    """Phonemes that adjoin or do not, of microseconds or seconds; the last may end the file."""
    rate = draw(st.sampled_from([1000, 8000, 16000, 22050, 44100]))
    duration = draw(st.integers(math.ceil(0.05 * rate), 30 * rate)) / rate
    gap = st.just(0.0) | st.floats(1e-6, 1e-3) | st.floats(1e-3, 1.0)
    length = st.floats(1e-6, 1e-3) | st.floats(1e-3, 1.0)
    steps = draw(st.lists(st.tuples(gap, length), max_size=20))
    edges = np.cumsum(np.array(steps, float).reshape(-1))
    if len(edges) and (edges[-1] > duration or draw(st.booleans())):
        edges *= duration / edges[-1]
        edges = np.minimum(edges, duration)
        edges[-1] = duration
    spans = [(start, end, draw(symbols)) for start, end in edges.reshape(-1, 2).tolist()]
    experts = draw(st.integers(0, len(EXPERTS)))
    return transcript(*spans, duration=duration, path=draw(paths), experts=experts)


def check_times(intervals: list[Span], drawn: Transcript) -> None:
    """The same phonemes, in order, apart, within the file, near where they were."""
    assert [symbol for _, _, symbol in intervals] == list(drawn.phonemes)
    edges = [time for start, end, _ in intervals for time in (start, end)]
    assert edges == sorted(edges)
    assert all(0 <= time <= drawn.duration for time in edges)
    assert all(start < end for start, end, _ in intervals)
    # Only segments shorter than a millisecond move their neighbours, by one each.
    tiny = sum(segment.end - segment.start < 0.001 for segment in drawn.segments)
    for (start, end, _), segment in zip(intervals, drawn.segments, strict=True):
        assert start == pytest.approx(segment.start, abs=0.001 * (1 + tiny) + 1e-9)
        assert end == pytest.approx(segment.end, abs=0.001 * (1 + tiny) + 1e-9)


@given(drawn=transcripts())
@example(drawn=transcript((0.0, 0.5, "a"), (0.5, 1.001, "b"), duration=1.001))
@example(drawn=transcript((0.4, 1.0, "a"), (1.0, 1.0000625, "b"), duration=1.0000625))
def test_rounding_leaves_phonemes_where_they_were(drawn: Transcript) -> None:
    edges = whole_millisecond_edges(drawn.segments, drawn.duration)
    check_times(
        [(a / 1000, b / 1000, p) for (a, b), p in zip(edges, drawn.phonemes, strict=True)], drawn
    )


def test_what_ends_with_the_recording_ends_with_its_last_millisecond() -> None:
    drawn = transcript((0.0, 1.001, "a"), duration=1.001)  # 1.001 * 1000 is less than 1001
    assert whole_millisecond_edges(drawn.segments, drawn.duration) == [(0, 1001)]


@given(drawn=transcripts())
def test_a_transcript_as_text_is_one_line(drawn: Transcript) -> None:
    text = FORMATS["txt"].body(drawn)
    assert text.endswith("\n")
    path, phonemes = text[:-1].split("\t")
    assert path == str(drawn.path)
    assert phonemes.split(" ") == (list(drawn.phonemes) or [""])


@pytest.mark.slow
@given(drawn=transcripts())
def test_json_fits_its_schema(drawn: Transcript) -> None:
    line = FORMATS["json"].body(drawn)
    assert line.count("\n") == 1
    data = json.loads(line)
    assert data == to_dict(drawn)
    jsonschema.validate(data, SCHEMA, jsonschema.Draft202012Validator)
    check_times([(s["start"], s["end"], s["phoneme"]) for s in data["segments"]], drawn)
    assert data["phonemes"] == list(drawn.phonemes)
    assert data["file"] == str(drawn.path)
    assert all(end <= data["duration"] for _, end in data["silences"])
    assert all(start < end for start, end in data["silences"])


def test_json_tells_everything_but_experts_that_have_next_to_nothing() -> None:
    drawn = transcript((0.1, 0.25, "ɹ"), duration=0.5, experts=3)
    assert to_dict(drawn) == {
        "version": 2,
        "file": "x/a b.wav",
        "run": "runs/tiny",
        "recipe": "tiny",
        "fold": "timit39",
        "symbols": "ipa",
        "duration": 0.5,
        "phonemes": ["ɹ"],
        "segments": [
            {
                "phoneme": "ɹ",
                "start": 0.1,
                "end": 0.25,
                "confidence": 0.5,
                "experts": {"ann": 0.75, 'b"o,b': 0.2496},
            }
        ],
        "silences": [[0.0, 0.02]],
        "routing": {"ann": 0.75, 'b"o,b': 0.2496, "дан": 0.0004},
        "alternatives": [{"phonemes": ["b"], "score": -1.25}],
    }


@given(drawn=transcripts())
def test_csv_has_a_row_for_each_phoneme(drawn: Transcript) -> None:
    form = FORMATS["csv"]
    rows = list(csv.DictReader(io.StringIO(form.header + form.body(drawn), newline="")))
    phonemes = [original_cell(row["phoneme"]) for row in rows]
    times = [(float(row["start"]), float(row["end"])) for row in rows]
    check_times([(*time, p) for time, p in zip(times, phonemes, strict=True)], drawn)
    for row, segment in zip(rows, drawn.segments, strict=True):
        assert original_cell(row["file"]) == str(drawn.path)
        assert float(row["confidence"]) == segment.confidence
        assert (row["expert"], row["weight"]) == (("ann", "0.7500") if drawn.routing else ("", ""))


@given(drawn=transcripts())
def test_ctm_has_six_columns(drawn: Transcript) -> None:
    intervals = []
    for line in FORMATS["ctm"].body(drawn).splitlines():
        name, channel, start, duration, symbol, confidence = line.split()
        assert name == re.sub(r"\s+", "_", drawn.path.stem.strip()) or not drawn.path.stem.strip()
        assert (channel, confidence) == ("1", "0.5000")
        assert re.fullmatch(r"\d+\.\d{3} \d+\.\d{3}", f"{start} {duration}")
        intervals.append((float(start), round(float(start) + float(duration), 3), symbol))
    check_times(intervals, drawn)


def check_textgrid(tiers: dict[str, list[Span]], drawn: Transcript) -> None:
    """Each tier covers the file; its intervals are long enough to hold samples."""
    expected = ["phonemes", "confidence", *(["expert"] if len(drawn.routing) > 1 else [])]
    assert list(tiers) == expected
    for intervals in tiers.values():
        times = [interval[:2] for interval in intervals]
        assert times[0][0] == 0
        assert times[-1][1] == drawn.duration
        assert all(first[1] == second[0] for first, second in pairwise(times))
        assert all(end - start > 0.001 - 1e-9 for start, end in times)
    check_times([interval for interval in tiers["phonemes"] if interval[2]], drawn)
    for name, label in (("confidence", "0.50"), ("expert", "ann")):
        labels = [bool(symbol) * label for _, _, symbol in tiers["phonemes"]]
        assert [text for _, _, text in tiers.get(name, [])] in (labels, [])


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("textgrid") / "x.TextGrid"


@given(drawn=transcripts())
def test_praatio_reads_a_textgrid(drawn: Transcript, grid: Path) -> None:
    FORMATS["textgrid"].save(drawn, grid)
    read = praatio_textgrid.openTextgrid(str(grid), True, reportingMode="error")
    assert (read.minTimestamp, read.maxTimestamp) == (0, drawn.duration)
    check_textgrid({tier.name: [tuple(e) for e in tier.entries] for tier in read.tiers}, drawn)


@given(drawn=transcripts())
@settings(max_examples=50)
def test_praat_reads_a_textgrid(drawn: Transcript, grid: Path) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    call = parselmouth.praat.call
    FORMATS["textgrid"].save(drawn, grid)
    read = parselmouth.read(str(grid))
    tiers: dict[str, list[Span]] = {}
    for tier in range(1, call(read, "Get number of tiers") + 1):
        tiers[call(read, "Get tier name", tier)] = [
            (
                call(read, "Get start time of interval", tier, number),
                call(read, "Get end time of interval", tier, number),
                call(read, "Get label of interval", tier, number),
            )
            for number in range(1, call(read, "Get number of intervals", tier) + 1)
        ]
    check_textgrid(tiers, drawn)


def test_praat_cuts_a_recording_by_its_textgrid(grid: Path) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    rate, num_samples = 22050, 22469
    sound = parselmouth.Sound(np.full(num_samples, 0.1), rate)
    # Less than half a sample after 1.019 s.
    drawn = transcript((0.3, 1.0, "a"), (1.0, sound.xmax, "b"), duration=num_samples / rate)
    FORMATS["textgrid"].save(drawn, grid)
    read = parselmouth.read(str(grid))
    assert read.xmax == sound.xmax
    parts = parselmouth.praat.call([sound, read], "Extract all intervals", 1, True)
    assert len(parts) == 3


def _milliseconds(clock: str) -> int:
    hours, minutes, seconds = clock.split(":")
    return round(1000 * (3600 * int(hours) + 60 * int(minutes) + float(seconds)))


def _read_srt(text: str) -> list[tuple[int, int, str]]:
    if not text:
        return []  # webvtt refuses a file without cues
    captions = webvtt.WebVTT.from_buffer(io.StringIO(text), format="srt")
    numbers = [block.split("\n")[0] for block in text.split("\n\n")[:-1]]
    assert numbers == [str(number) for number in range(1, len(captions) + 1)]
    return [(_milliseconds(c.start), _milliseconds(c.end), c.raw_text) for c in captions]


def _read_vtt(text: str) -> list[tuple[int, int, str]]:
    captions = webvtt.WebVTT.from_string(text, strict=True)
    return [
        (_milliseconds(c.start), _milliseconds(c.end), html.unescape(c.raw_text)) for c in captions
    ]


@pytest.mark.parametrize(("name", "read"), [("srt", _read_srt), ("vtt", _read_vtt)])
@given(drawn=transcripts())
def test_subtitles_hold_the_phonemes(
    name: str, read: Callable[[str], list[tuple[int, int, str]]], drawn: Transcript
) -> None:
    cues = read(FORMATS[name].header + FORMATS[name].body(drawn))
    assert " ".join(text for _, _, text in cues).split() == list(drawn.phonemes)
    edges = whole_millisecond_edges(drawn.segments, drawn.duration)
    for start, end, text in cues:
        members = edges[: len(text.split())]
        del edges[: len(members)]
        assert (start, end) == (members[0][0], members[-1][1])
        assert len(members) <= CUE_PHONEMES
        assert len(members) == 1 or end - start <= 1000 * CUE_SECONDS
        assert all(first[1] == second[0] for first, second in pairwise(members))


def test_subtitles_are_what_players_expect() -> None:
    drawn = transcript((0.0, 0.25, "a"), (0.25, 0.5, "<&>"), (3725.5, 3726.0, "b"), duration=3726.0)
    assert FORMATS["srt"].body(drawn) == (
        "1\n00:00:00,000 --> 00:00:00,500\na <&>\n\n2\n01:02:05,500 --> 01:02:06,000\nb\n\n"
    )
    assert FORMATS["vtt"].header + FORMATS["vtt"].body(drawn) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\na &lt;&amp;&gt;\n\n"
        "01:02:05.500 --> 01:02:06.000\nb\n\n"
    )


def test_an_arrow_in_a_phoneme_does_not_end_a_cue() -> None:
    drawn = transcript((0.0, 0.25, "-->"), duration=0.5)
    assert _read_vtt(FORMATS["vtt"].header + FORMATS["vtt"].body(drawn)) == [(0, 250, "-->")]


@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_has_the_header_once_and_every_file_has_it(name: str, tmp_path: Path) -> None:
    drawn = transcript((0.1, 0.25, "ɹ"), duration=0.5)
    form = FORMATS[name]
    stream = io.StringIO()
    form.write(drawn, stream)
    form.write(drawn, stream, first=False)
    assert stream.getvalue() == form.header + 2 * form.body(drawn)
    form.save(drawn, tmp_path / f"x{form.suffix}")
    written = (tmp_path / f"x{form.suffix}").read_text(encoding="utf-8")
    if name == "json":
        assert written.startswith('{\n "version": 2,\n')
        assert json.loads(written) == json.loads(form.body(drawn))
    else:
        assert written == form.header + form.body(drawn)


def test_formats_of_one_recording_have_names_of_their_own() -> None:
    assert len({form.suffix.lower() for form in FORMATS.values()}) == len(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_name_that_is_not_utf8_is_still_written(name: str, tmp_path: Path) -> None:
    path = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    drawn = transcript((0.1, 0.25, "a"), duration=0.5, path=path)
    FORMATS[name].save(drawn, tmp_path / "x")
    text = (tmp_path / "x").read_text(encoding="utf-8")
    shown = r"caf\\xe9" if name.startswith("json") else r"caf\xe9"
    assert (shown in text) == (name in {"txt", "json", "jsonl", "csv", "ctm"})


def test_formats_and_symbols_do_without_torch() -> None:
    code = (
        "import sys, phoneme_moe.transcription.writers.transcripts, phoneme_moe.decoding.symbols;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
