from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.decoding.phonemes import BLANK, PhonemeSet
from phoneme_moe.errors import InputError

symbols = st.lists(st.text("abʃɯᵝ ", min_size=1, max_size=3), min_size=1, max_size=20, unique=True)


@given(symbols=symbols, has_blank=st.booleans(), data=st.data())
def test_decoding_undoes_encoding(symbols: list[str], has_blank: bool, data: st.DataObject) -> None:
    phonemes = PhonemeSet(tuple(symbols), has_blank)
    spoken = data.draw(st.lists(st.sampled_from(symbols)))
    encoded = phonemes.encode(spoken)
    assert phonemes.decode(encoded) == spoken
    assert all(0 <= index < phonemes.num_outputs for index in encoded)
    assert not has_blank or BLANK not in encoded


def test_blanks_are_left_out() -> None:
    assert PhonemeSet(("b", "d"), has_blank=True).decode([0, 1, 0, 2, 0]) == ["b", "d"]


def test_there_is_one_output_for_each_phoneme_and_the_blank() -> None:
    assert PhonemeSet(("b", "d", "g"), has_blank=False).num_outputs == 3
    assert PhonemeSet(("b", "d", "g"), has_blank=True).num_outputs == 4


def test_an_unknown_phoneme_is_named_with_a_suggestion() -> None:
    phonemes = PhonemeSet(("sh", "ch", "b"), has_blank=True)
    assert "sh" in phonemes
    assert "zh" not in phonemes
    with pytest.raises(InputError, match=r"'shh' is not in the phoneme set.*did you mean 'sh'"):
        phonemes.encode(["b", "shh"])


def test_a_phoneme_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        PhonemeSet(("b", "d", "b"), has_blank=False)


def test_phonemes_are_found_by_their_normal_form() -> None:
    earlier = PhonemeSet(("t͡ʃ", "ɡ", "a\u0303", "AA1"), has_blank=True)
    assert earlier.encode(["tʃ", "ʧ", "g", "ã", "AA1"]) == [1, 1, 2, 3, 4]
    assert earlier.spell(["tʃ", "g", "AA1", "d͡ʒ"]) == ("t͡ʃ", "ɡ", "AA1", "dʒ")
    now = PhonemeSet(("tʃ", "g", "ã"), has_blank=True)
    assert now.encode(["t͡ʃ", "ɡ", "a\u0303"]) == [1, 2, 3]
    assert "t͜ʃ" in now
    assert "t" not in now


def test_two_spellings_in_one_set_stay_apart() -> None:
    both = PhonemeSet(("g", "ɡ", "t͡ʃ", "ʧ"), has_blank=False)
    assert both.encode(["g", "ɡ", "t͡ʃ", "ʧ", "tʃ"]) == [0, 1, 2, 3, 2]
    assert both.spell(["g", "ɡ"]) == ("g", "ɡ")
