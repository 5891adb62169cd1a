"""TextGrids as Praat, praatio and our writer write them, and damaged ones."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from praatio import textgrid as praatio
from praatio.utilities.constants import Interval as PraatioInterval
from praatio.utilities.constants import Point as PraatioPoint

from phoneme_moe.errors import InputError
from phoneme_moe.labels.textgrid import Interval, choose_tier, parse_textgrid, read_textgrid
from phoneme_moe.notation.symbol_table import read_symbol_table
from phoneme_moe.transcription.writers.textgrid import Tiers, textgrid

LONG = textgrid({"phonemes": ([(100, 200), (200, 350)], ["a", 'say "b"'])}, 0.5)
SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
0.5
<exists>
3
"IntervalTier"
"phonemes"
0
0.5
4
0
0.1
""
0.1
0.2
"a"
0.2
0.35
"say ""b"""
0.35
0.5
""
"TextTier"
"clicks"
0
0.5
1
0.25
"here"
"IntervalTier"
"phonemes"
0
0.5
0
'''
LABELLED = [Interval(0.1, 0.2, "a"), Interval(0.2, 0.35, 'say "b"')]


def labelled(text: str, number: int = 0) -> list[Interval]:
    tier = parse_textgrid(text, "a.TextGrid").tiers[number]
    return [interval for interval in tier.intervals if interval.label]


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        SHORT,
        LONG.replace("\n\n", "\n"),
        LONG.replace("\n", "\r\n"),
        LONG.replace("\n", "\r"),
        LONG.replace(" = ", "="),
        LONG.replace("\n", " \n\n"),
        LONG.replace("tiers? <exists>", "tiers? <exists> ! a comment with 2 numbers"),
        SHORT.replace("\n", " "),
        SHORT.replace('"ooTextFile"', '"ooTextFile short"', 1),
        SHORT.replace("0.35", "3.5e-1"),
    ],
)
def test_long_and_short_forms(text: str) -> None:
    assert labelled(text) == LABELLED


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = textgrid({"phonemes": ([(0, 100)], ["t͡ʃ"])}, 0.1)
    (tmp_path / "a.TextGrid").write_bytes(text.encode(encoding))
    grid = read_textgrid(tmp_path / "a.TextGrid")
    assert grid.tiers[0].intervals == (Interval(0.0, 0.1, "t͡ʃ"),)


def test_tiers_of_points_and_tiers_without_intervals() -> None:
    grid = parse_textgrid(SHORT, "a.TextGrid")
    assert [(t.name, t.is_points, len(t.intervals)) for t in grid.tiers] == [
        ("phonemes", False, 4),
        ("clicks", True, 1),
        ("phonemes", False, 0),
    ]
    assert grid.tiers[1].intervals == (Interval(0.25, 0.25, "here"),)
    assert parse_textgrid(SHORT.split("<exists>")[0] + "<absent>", "a.TextGrid").tiers == ()


label = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\x85\u2028\\"))
#: Labels that end where others would begin, with what the forms have between values.
hard = label | st.sampled_from(['"', '""', 'a"', "intervals [2]:", "item [1]:", "xmin = 3", "! 5"])


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tiers, float]:
    edges = sorted(draw(st.lists(st.integers(0, 9_999), min_size=2, max_size=12, unique=True)))
    spans = [span for span in itertools.pairwise(edges) if draw(st.booleans())]
    labels = [draw(hard) for _ in spans]
    return {"phonemes": (spans, labels), "others": ([], [])}, 10.0


@given(tiers())
def test_what_our_writer_writes_is_read(written: tuple[Tiers, float]) -> None:
    spans, labels = written[0]["phonemes"]
    grid = parse_textgrid(textgrid(*written), "a.TextGrid")
    assert (grid.start, grid.end) == (0.0, 10.0)
    assert [(tier.name, tier.is_points) for tier in grid.tiers] == [
        ("phonemes", False),
        ("others", False),
    ]
    found = [(i.start, i.end, i.label) for i in grid.tiers[0].intervals if i.label]
    expected = [
        (start / 1000, end / 1000, label)
        for (start, end), label in zip(spans, labels, strict=True)
        if label
    ]
    assert found == expected
    assert [i.end for i in grid.tiers[0].intervals[:-1]] == [
        i.start for i in grid.tiers[0].intervals[1:]
    ]


@given(tiers(), st.sampled_from(["short_textgrid", "long_textgrid"]), st.booleans())
def test_what_praatio_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    written: tuple[Tiers, float],
    form: str,
    include_blanks: bool,
) -> None:
    spans, labels = written[0]["phonemes"]
    entries = [
        PraatioInterval(start / 1000, end / 1000, label.strip())
        for (start, end), label in zip(spans, labels, strict=True)
        if label.strip()
    ]
    grid = praatio.Textgrid(0, 10)
    if entries:
        grid.addTier(praatio.IntervalTier("phonemes", entries, 0, 10))
    points = [PraatioPoint(entry.start, entry.label) for entry in entries]
    if points:
        grid.addTier(praatio.PointTier("points", points, 0, 10))
    file = tmp_path_factory.mktemp("grids") / "a.TextGrid"
    grid.save(str(file), format=form, includeBlankSpaces=include_blanks)
    found = read_textgrid(file)
    assert [tier.name for tier in found.tiers] == list(grid.tierNames)
    for tier in found.tiers:
        expected = [(e.start, e.end if not tier.is_points else e.start, e.label) for e in entries]
        assert [(i.start, i.end, i.label) for i in tier.intervals if i.label] == expected


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\sw", "ə"),
        (r"\tS\:f", "ʧː"),
        (r"d\zh", "dʒ"),
        (r"\a~", "ã"),
        (r"\'1\as\~^", "ˈɑ\u0303"),
        (r"t\lis", "t͡s"),
        (r"r\bs", "r\\"),
        ("r\\", "r\\"),  # X-SAMPA
        ("J\\_<", "J\\_<"),
        ("|\\|\\", "|\\|\\"),
    ],
)
def test_trigraphs_of_praat_are_letters(written: str, read: str) -> None:
    assert labelled(SHORT.replace('"a"', f'"{written}"'))[0].label == read


def test_trigraphs_are_those_of_praat() -> None:
    parselmouth = pytest.importorskip("parselmouth")
    table = read_symbol_table("phoneme_moe.labels", "praat_unicode")
    grid = parselmouth.praat.call("Create TextGrid", 0.0, float(len(table)), "a", "")
    for number, trigraph in enumerate(table, 1):
        if number < len(table):
            parselmouth.praat.call(grid, "Insert boundary", 1, float(number))
        parselmouth.praat.call(grid, "Set interval text", 1, number, trigraph)
    parselmouth.praat.call(grid, "Convert to Unicode")
    for number, (trigraph, letter) in enumerate(table.items(), 1):
        found = parselmouth.praat.call(grid, "Get label of interval", 1, number)
        assert found == letter or trigraph == "\\bs", trigraph


def damaged(old: str, new: str) -> str:
    assert old in SHORT
    return SHORT.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the file type"),
        ("hello", "line 1: expected the file type"),
        (damaged('"TextGrid"', '"Sound"'), 'line 2: expected the file type'),
        (damaged("<exists>", ""), "line 7: expected <exists> or <absent>, found '3"),
        (damaged("\n3\n", "\n2.5\n"), "line 7: expected a number of tiers"),
        (damaged("\n3\n", "\n1000000000\n"), "line 37: expected the class of a tier"),
        (damaged("IntervalTier", "Tier"), 'line 8: expected "IntervalTier" or "TextTier"'),
        (damaged("\n4\n", "\n1e400\n"), "line 12: expected a number of tiers or intervals"),
        (damaged('"a"', "a"), "line 19: expected a label in quotes, found '0.2"),
        (damaged('0.2\n"a"', '0.1x\n"a"'), "line 18: expected a time in seconds"),
        (damaged('0.2\n"a"', '0.05\n"a"'), "line 17: expected an end after 0.1 s"),
        (damaged('0.2\n0.35', '0.15\n0.35'), "expected times after 0.2 s in the tier 'phonemes'"),
        (SHORT[:200], "expected"),
        (damaged('"say', "say"), "expected"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_by_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_textgrid(text, "a.TextGrid")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.integers(0, len(LONG)), st.integers(0, len(LONG)), st.text(max_size=5))
def test_any_damage_is_read_or_refused(first: int, last: int, inserted: str) -> None:
    try:
        grid = parse_textgrid(LONG[:first] + inserted + LONG[last:], "a.TextGrid")
    except InputError as error:
        assert str(error).startswith("a.TextGrid: line ")  # noqa: PT017
    else:
        for tier in grid.tiers:
            assert all(i.start <= i.end for i in tier.intervals)


def test_binary_textgrids_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.TextGrid").write_bytes(b"ooBinaryFile\x08TextGrid\0\0")
    with pytest.raises(InputError, match=r"a\.TextGrid: found a binary TextGrid.*Save as text"):
        read_textgrid(tmp_path / "a.TextGrid")


def grid_of(*names: str) -> str:
    return textgrid({}, 1.0).replace("size = 0", f"size = {len(names)}") + "".join(
        f'"IntervalTier" "{name}" 0 1 0\n' for name in names
    )


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        ("words phones", None, 1),
        ("Words Phonemes", None, 1),
        ("ORT-MAU KAN-MAU MAU", None, 2),
        ("phones phonemes", None, 1),
        ("ann_-_words ann_-_phones", None, 1),
        ("mary Mary", "Mary", 1),
        ("mary bob", "MARY", 0),
    ],
)
def test_the_tier_is_chosen_by_name(names: str, wanted: str | None, chosen: int) -> None:
    grid = grid_of(*(name.replace("_", " ") for name in names.split()))
    tiers = parse_textgrid(grid, "a.TextGrid").tiers
    usual = ("phonemes", "phoneme", "phones", "phone", "mau")
    assert choose_tier(tiers, wanted, usual) is tiers[chosen]


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        (("mary", "bob"), None, r"expected a tier 'phonemes' or 'phones', found 'mary', 'bob'"),
        ((), None, "found no tier"),
        (("a - phones", "b - phones"), None, "found 2 of them among 'a - phones', 'b - phones'"),
        (("mary", "bob"), "merry", r"expected a tier 'merry', .*\(did you mean 'mary'\?\)"),
    ],
)
def test_tiers_are_listed(names: tuple[str, ...], wanted: str | None, message: str) -> None:
    tiers = parse_textgrid(grid_of(*names), "a.TextGrid").tiers
    with pytest.raises(InputError, match=message):
        choose_tier(tiers, wanted, ("phonemes", "phones"))
