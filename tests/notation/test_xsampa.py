"""X-SAMPA against Wells' table in another library, and there and back."""

from __future__ import annotations

import contextlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.errors import InputError
from phoneme_moe.notation.convert import convert_phoneme, notation_of
from phoneme_moe.notation.normal_form import normalize_phoneme
from phoneme_moe.notation.symbol_table import read_symbol_table
from phoneme_moe.notation.xsampa import ipa_to_xsampa, xsampa_to_ipa

TABLE = read_symbol_table("phoneme_moe.notation", "xsampa_ipa")
LETTERS = [x for x, ipa in TABLE.items() if unicodedata.category(ipa[0]) in {"Ll", "Lo"}]
MARKS = [x for x, ipa in TABLE.items() if x not in LETTERS]


@pytest.mark.parametrize("symbol", TABLE)
def test_every_row_leads_there_and_back(symbol: str) -> None:
    ipa = xsampa_to_ipa(symbol)
    assert normalize_phoneme(ipa) == ipa
    assert xsampa_to_ipa(ipa_to_xsampa(ipa)) == ipa


@given(
    st.lists(
        st.tuples(st.sampled_from(LETTERS), st.lists(st.sampled_from(MARKS), max_size=2)),
        min_size=1,
        max_size=3,
    )
)
def test_letters_with_marks_come_back(parts: list[tuple[str, list[str]]]) -> None:
    ipa = xsampa_to_ipa("".join(letter + "".join(marks) for letter, marks in parts))
    written = ""
    with contextlib.suppress(InputError):  # a few letters with marks have no X-SAMPA of their own
        written = ipa_to_xsampa(ipa)
    assert not written or xsampa_to_ipa(written) == ipa
    assert written or "`" in "".join(mark for _, marks in parts for mark in marks), parts


@pytest.mark.parametrize(
    ("xsampa", "ipa"),
    [
        ("t_S", "tʃ"),  # a tie bar is left out
        ("d_z", "dz"),
        ("t_d", "t̪"),  # and this is none
        ("k_p", "kp"),
        ('"a:', "ˈaː"),
        ("%i", "ˌi"),
        ("p_h", "pʰ"),
        ("e~", "ẽ"),
        ("r\\`", "ɻ"),
        ("n=", "n̩"),
        ("n_=", "n̩"),
        ("t'", "tʲ"),
        ("3`", "ɝ"),
        ("a_H_T", "a᷄"),
        ("b_<", "ɓ"),
        ("G\\_<", "ʛ"),
        ("|\\|\\", "ǁ"),
    ],
)
def test_symbols_of_several_characters(xsampa: str, ipa: str) -> None:
    assert xsampa_to_ipa(xsampa) == unicodedata.normalize("NFC", ipa)


@pytest.mark.parametrize(
    ("ipa", "xsampa"),
    [("t͡ʃ", "tS"), ("ɡ", "g"), ("ŋ̊", "N_0"), ("ŋ̍", "N="), ("a˥˩", "a_T_B"), ("ã", "a~")],
)
def test_ipa_that_is_written_in_more_than_one_way(ipa: str, xsampa: str) -> None:
    assert ipa_to_xsampa(ipa) == xsampa


@pytest.mark.parametrize("symbol", ["ä1ü", "_", "_S", "t_", "я", ""])
def test_what_is_not_xsampa_is_named(symbol: str) -> None:
    with pytest.raises(InputError, match="is not X-SAMPA"):
        xsampa_to_ipa(symbol)


@pytest.mark.parametrize("symbol", ["A", "я", "1", ""])
def test_what_is_not_ipa_is_named(symbol: str) -> None:
    with pytest.raises(InputError, match="is not IPA"):
        ipa_to_xsampa(symbol)


# Boundaries and comments are no part of a phoneme; the other rows of phonecodes are not Wells'.
NOT_OURS = {"#", ">", "n_d", "p_<", "I\\", "U\\", "-", "-\\", "*", "/", "|", "||"}


def test_it_agrees_with_phonecodes() -> None:
    tables = pytest.importorskip("phonecodes.phonecode_tables")
    theirs = {x: ipa for x, ipa in tables._xsampa2ipa.items() if x not in NOT_OURS}
    assert len(theirs) > 100
    ours = {x: xsampa_to_ipa(x) for x in theirs}
    assert ours == {x: normalize_phoneme(ipa) for x, ipa in theirs.items()}


@pytest.mark.parametrize(
    ("phonemes", "notation"),
    [
        ("AH B S T", "arpabet"),
        ("ah b s t", "arpabet"),
        ("AA1 AA0 B SIL", "arpabet"),
        ("b d g", "arpabet"),  # the announcers; the same in all notations
        ("a b d g", None),
        ("a i u e o k s t n h m y r w N sh ch ts j f z g d b p", None),  # romanised Japanese
        ("b p m f d t n l g k h j q x zh ch sh r z c s a1 ang2 i4", None),  # pinyin
        ("p t a @", "xsampa"),
        ("s S z Z a i", "xsampa"),
        ("a b @ §", "ipa"),
        ("a b @ #1", None),
        ("p t k a: OY 2: sil", "xsampa"),
        ("p t k a: OY 2: ʃ", "ipa"),
    ],
)
def test_the_notation_of_a_set(phonemes: str, notation: str | None) -> None:
    assert notation_of(phonemes.split()) == notation


def test_silences_are_no_letters() -> None:
    assert convert_phoneme("SIL", "xsampa", "ipa") == "SIL"
    assert convert_phoneme("sil", "ipa", "xsampa") == "sil"
    assert convert_phoneme("sil", "ipa", "arpabet") == "SIL"
