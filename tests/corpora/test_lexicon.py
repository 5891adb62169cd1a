"""Lexicons of every format, and one lookup of words for every command."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.corpora.lexicon import Lexicon, read_lexicon
from phoneme_moe.errors import InputError


def lexicon_of(folder: Path, text: str, encoding: str = "utf-8") -> Lexicon:
    file = folder / "lexicon.txt"
    file.write_bytes(text.encode(encoding))
    return read_lexicon(file)


def spoken(lexicon: Lexicon, text: str) -> list[list[str]]:
    """The pronunciations of each word."""
    words = lexicon.spoken_words(text)
    return [[" ".join(phonemes) for phonemes in word.pronunciations] for word in words]


@pytest.mark.parametrize(
    "line",
    [
        "word a 2",
        "word\ta 2",
        "word  \t a\t2 ",
        "word 0.99 a 2",
        "word\t0.99\t0.2\ta 2",
        "word\t0.99\t0.2\t1.0\ta 2",
        "word\t0.99\t0.2\t1.0\t12.5\ta 2",
        "word 1.0 0.5e-05\ta 2",
        "word a 2 # as in words",
        "WORD(2) a 2",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_every_format(tmp_path: Path, line: str, end: str) -> None:
    text = f";;; a comment{end}{end}{line}{end}other b{end}"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        lexicon = lexicon_of(tmp_path, text, encoding)
        assert spoken(lexicon, "word other") == [["a 2"], ["b"]]


def test_whole_numbers_are_phonemes_of_x_sampa(tmp_path: Path) -> None:
    lexicon = lexicon_of(tmp_path, "peur 9 R\npeu 2\nbir 1\nsein 3 8 7\n")
    assert spoken(lexicon, "peur peu bir sein") == [["9 R"], ["2"], ["1"], ["3 8 7"]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a 0.99 x\nb 1 y", r":2: found '1' among the phonemes; .*such as 1\.0"),
        ("a 0.99 0.2 1 1.0 x", r":1: found '1\.0' among the phonemes"),
        ("a x\nb 0,99 y", r":2: found '0,99' among the phonemes"),
        ("a x 0.5 y", r":1: found '0\.5' among the phonemes"),
        ("a 0.9 0.9 0.9 0.9 0.9 x", r":1: expected 'WORD P1 P2 \.\.\.', with up to 4"),
        ("a x\n\nb", r":3: expected 'WORD P1 P2"),
        ("a 0.5", r":1: expected 'WORD P1 P2"),
        ("a # x", r":1: expected 'WORD P1 P2"),
        ("a lot\tx", r":1: found 'a lot' before the tab, expected one word"),
        ("a x\nb y\nc \x00", "found a NUL character"),
    ],
)
def test_what_is_neither_phoneme_nor_probability_is_refused_by_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(InputError, match=r"lexicon\.txt.*" + problem):
        lexicon_of(tmp_path, text)


def test_latin_1_is_refused_by_byte_and_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"byte 7 \(line 2\): found 0xE9, which is not UTF-8"):
        lexicon_of(tmp_path, "a x\ncaf\u00e9 y", "latin-1")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("GOOD", "good"),
        ("good", "Good,"),
        ("don't", "don\u2019t"),
        ("DON\u2019T", "don't"),
        ("don\u02bct", "\u201cDON\u2019T!\u201d"),
        ("caf\u00e9", "cafe\u0301"),
        ("CAFE\u0301", "caf\u00e9"),
        ("stra\u00dfe", "STRASSE"),
        ("STRASSE", "stra\u00dfe"),
        ("\u0131ss\u0131z", "ISSIZ"),
        ("istanbul", "\u0130STANBUL"),
        ("\u039b\u039f\u0393\u039f\u03a3", "\u03bb\u03bf\u03b3\u03bf\u03c2"),
        ("co\u00adop", "co\u200bop"),
        ("'cause", "\u2018Cause"),
        ("dogs'", "dogs\u2019."),
        ("dogs", "'dogs'"),
        ("[noise]", "[noise]"),
        ("&", "&"),
    ],
)
def test_words_are_found_however_they_are_written(entry: str, text: str) -> None:
    assert spoken(Lexicon([(entry, ("x",))]), text) == [["x"]]


@given(st.text(st.characters(categories=["L", "M"]), min_size=1, max_size=8))
def test_every_word_finds_itself_in_any_form(word: str) -> None:
    lexicon = Lexicon([(word, ("x",))])
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, word)
        for text in (written, written.upper(), f"\u00ab{written}\u00bb"):
            assert spoken(lexicon, text) == [["x"]], (text, word)


def test_an_entry_in_the_same_case_has_precedence() -> None:
    lexicon = Lexicon([("Weg", ("v", "e:", "k")), ("weg", ("v", "E", "k"))])
    assert spoken(lexicon, "Weg weg WEG") == [["v e: k"], ["v E k"], ["v e: k", "v E k"]]
    lexicon = Lexicon([("Ma\u00dfe", ("m", "a:")), ("Masse", ("m", "a"))])
    assert spoken(lexicon, "Ma\u00dfe Masse") == [["m a:"], ["m a"]]


@pytest.mark.parametrize("text", ["[laughter]", "<unk>", "(door", "slam)", "100%", "C#", "a/b"])
def test_events_and_spoken_signs_are_not_words_without_them(text: str) -> None:
    words = ["laughter", "unk", "door", "slam", "100", "C", "a", "b"]
    assert spoken(Lexicon([(word, ("x",)) for word in words]), text) == [[]]


def test_mere_punctuation_has_no_sound() -> None:
    lexicon = Lexicon([("good", ("x",))])
    assert spoken(lexicon, "\u2013 good \u2026 - ' !?") == [["x"]]
    assert lexicon.spoken_words("\u201eGood\u201c")[0].word == "good"


def test_all_pronunciations_are_kept_in_order(tmp_path: Path) -> None:
    lexicon = lexicon_of(tmp_path, "READ  R EH1 D\nREAD(2)  R IY1 D\nread 0.5 R IY0 D\n")
    assert spoken(lexicon, "Read") == [["R EH D", "R IY D"]]
