from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.notation.near_twins import near_twins
from phoneme_moe.notation.normal_form import is_silence, normalize_phoneme, split_phonemes
from phoneme_moe.notation.symbol_table import read_symbol_table

SAME = [
    ("tʃ", "t͡ʃ", "t͜ʃ", "ʧ", "t\u200dʃ", "t͡\u2060ʃ"),
    ("dʒ", "d͡ʒ", "ʤ"),
    ("ts", "t͡s", "ʦ"),
    ("dʑ", "ʥ"),
    ("g", "ɡ", "\ufeffg"),
    ("gʷ", "ɡʷ"),
    ("ã", "a\u0303", "\u00e3"),
    ("ç", "c\u0327", "\u00e7"),
    ("ɔ̃ː", "ɔ\u0303:"),
    ("ɔː", "ɔ:"),
    ("ˈɔ", "'ɔ"),
    ("tʼ", "t\u2019"),
    ("ɚ", "ə˞"),
    ("ɫ", "l\u0334"),
    ("ɫ̩", "l\u0329\u0334"),
]
DIFFERENT = ["a", "aː", "aˑ", "ˈa", "ˌa", "á", "à", "a˥", "a˩", "ã", "pʰ", "p", "t", "ʈ", "S", "ʃ"]
# Letters and marks of the IPA, and what typists put in their place.
CHARACTERS = "atgɡlɔəʧʤʃçãé'’:ː͜͡‿˞̴̩̃̊̀ˈ˥0A_\u200d\u00ad\ufeff\u212b\u1fef"


@pytest.mark.parametrize("spellings", SAME)
def test_encodings_of_a_phoneme_have_one_normal_form(spellings: tuple[str, ...]) -> None:
    assert {normalize_phoneme(spelling) for spelling in spellings} == {spellings[0]}


def test_marks_that_may_be_phonemic_stay() -> None:
    assert len(set(map(normalize_phoneme, DIFFERENT))) == len(DIFFERENT)
    assert [normalize_phoneme(phoneme) for phoneme in DIFFERENT] == DIFFERENT


@given(st.text(st.sampled_from(CHARACTERS), min_size=1) | st.text(min_size=1))
def test_the_normal_form_is_its_own_and_composed(symbol: str) -> None:
    normal = normalize_phoneme(symbol)
    assert normalize_phoneme(normal) == normal != ""
    for form in ("NFC", "NFD"):
        assert normalize_phoneme(unicodedata.normalize(form, symbol)) in {
            normal,
            # A symbol whose composition is ASCII (the Kelvin sign) is as ASCII symbols are.
            unicodedata.normalize(form, symbol),
        }


@given(st.text(st.characters(max_codepoint=127)))
def test_symbols_of_ascii_are_left_alone(symbol: str) -> None:
    assert normalize_phoneme(symbol) == symbol


@pytest.mark.parametrize("package", ["notation/arpabet_ipa", "notation/xsampa_ipa"])
def test_arpabet_and_xsampa_are_ascii(package: str) -> None:
    folder, _, name = package.partition("/")
    assert all(symbol.isascii() for symbol in read_symbol_table(f"phoneme_moe.{folder}", name))


def test_phonemes_of_a_text() -> None:
    assert split_phonemes(" t͡ʃ\u3000ɔ:\n b ") == ("tʃ", "ɔː", "b")


def test_silences() -> None:
    assert all(map(is_silence, ("", "SIL", "sil", "<p:>", "h#")))
    assert not any(map(is_silence, ("s", "a", "ʔ", "p:")))


def twins(phonemes: str) -> list[tuple[str, ...]]:
    return near_twins(phonemes.split())


def test_near_twins_are_named_and_others_are_not() -> None:
    vowels = ("a", "aː", "ˈa", "e", "ã", "pʰ", "p", "ɛ", "ε", "K", "k")
    assert near_twins(vowels) == [("a", "aː", "ˈa"), ("ɛ", "ε"), ("K", "k")]
    assert twins("p t k b d g tʃ dʒ s ʃ z ʒ i y u ɪ ø œ ɑ ɔ ŋ n ɲ") == []
    assert twins("a ˈa ə˥ ə˩") == [("a", "ˈa"), ("ə˥", "ə˩")]
    assert near_twins(("tʃ", "t͡ʃ")) == [("tʃ", "t͡ʃ")]


def test_near_twins_of_ascii_notations() -> None:
    assert twins("s S z Z i I e E t T d D { 2 9 @ tS dZ") == []
    assert twins("s S a a: tS t_S 2 @") == [("a", "a:"), ("tS", "t_S")]
    assert twins("AA AA1 AH b B SH") == [("AA", "AA1"), ("b", "B")]
