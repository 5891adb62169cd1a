"""Symbols of hama as ARPABET, and the comparison with it as Markdown."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.against_hama import section, split_words
from benchmarks.hama_symbols import SYMBOLS, to_arpabet
from phoneme_moe.corpora.lexicon import ARPABET


def test_every_symbol_is_a_phoneme_of_cmudict() -> None:
    assert {phoneme for name in SYMBOLS.values() for phoneme in name.split()} == ARPABET


@pytest.mark.parametrize(
    ("spelling", "phonemes"),
    [
        pytest.param("b ʌ t ə", "B AH T ER", id="butter"),
        pytest.param("b ʌ t ə ɹ f l aɪ", "B AH T ER F L AY", id="butterfly"),
        pytest.param("f aɪ ɹ", "F AY ER", id="fire"),
        pytest.param("aɪ ɹ ə n", "AY R AH N", id="iron, before a vowel"),
        pytest.param("n ɪ ɹ", "N IH R", id="near"),
        pytest.param("h w ɪ t͡ʃ", "W IH CH", id="which"),
        pytest.param("w ɑ ɾ ə", "W AA T ER", id="water with a flap"),
        pytest.param("d ̪ o", "D OW", id="a diacritic"),
        pytest.param("ɟ ͡ ʝ ɪ m", "JH IH M", id="an affricate in parts"),
        pytest.param("ə | b ɔɪ", "AH B OY", id="the word a"),
        pytest.param("p l ɛ ʒ ɝ", "P L EH ZH ER", id="pleasure"),
    ],
)
def test_spellings_of_its_dictionary_are_those_of_cmudict(spelling: str, phonemes: str) -> None:
    assert to_arpabet(split_words(spelling)) == tuple(phonemes.split())


def test_an_unknown_symbol_stays_an_error() -> None:
    assert to_arpabet(split_words("一")) == ("一",)


def figures(ours: str) -> dict[str, Any]:
    names = [f"u{number}" for number in range(20)]
    sentences = {name: {"text": "a boy", "phonemes": "AH B OY"} for name in names}
    return {
        "sentences": {"librispeech": sentences, "speechocean762": sentences},
        "theirs": {
            "version": "1.7.0",
            "hypotheses": dict.fromkeys(names, "ə | b oʊ"),
            "dictionary": {"a": "ə", "boy": "b oʊ"},
            "times_real_time": 9.0,
            "machine": "a machine",
        },
        "ours": [
            {"run": "mine", "hypotheses": dict.fromkeys(names, ours), "times_real_time": 300.0}
        ],
    }


@pytest.mark.parametrize(
    ("ours", "per", "verdict"),
    [("AH B OY", "0.0", ": ahead."), ("AH B OW", "33.3", "**not ahead**")],
)
def test_ours_stands_beside_theirs(ours: str, per: str, verdict: str) -> None:
    text = section(figures(ours))
    assert "| hama | LibriSpeech | 33.3 | 21.7 to 46.7 | 33.3 | 0.0 | 0.0 |" in text
    assert "| hama, by its own dictionary | LibriSpeech | 0.0 |" in text
    assert f"| mine | LibriSpeech | {per} |" in text
    assert text.count(verdict) == 2
