"""Alternative pronunciations: the same field for every corpus with a lexicon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.corpora import load_corpus, prepare_corpus
from phoneme_moe.corpora.alternatives import (
    MAX_ALTERNATIVES,
    check_alternatives,
    custom_fields,
    first_pronunciation,
    symbols_of,
)
from phoneme_moe.corpora.check import check_corpus

from .layouts import make_folder, make_kaldi, make_librispeech

SYMBOLS = st.sampled_from(["AA", "b", "ʧ", "a\u0303", "t_S"])
WORDS = st.lists(st.lists(st.lists(SYMBOLS, min_size=1, max_size=4), min_size=1, max_size=5))


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    """The second pronunciation of "call" differs in stress alone."""
    file = tmp_path / "lexicon.txt"
    file.write_text("a AH0\na(2) EY1\ncall K AO1 L\ncall(2) K AO0 L\n")
    return file


@given(WORDS)
def test_fields_are_valid_and_lose_nothing_but_repetitions(words: list[list[list[str]]]) -> None:
    fields = custom_fields(words)
    check_alternatives(fields)
    assert custom_fields(words) == custom_fields(fields.get("pronunciations", words))
    assert len(fields["phonemes"]) == len(first_pronunciation(words))
    assert symbols_of(fields) <= {"AA", "b", "tʃ", "ã", "t_S"}
    has_alternatives = any(len({tuple(p) for p in word}) > 1 for word in words)
    assert ("pronunciations" in fields) == has_alternatives


def test_more_alternatives_than_anybody_has_are_cut_off() -> None:
    word = [["a"] * number for number in range(1, MAX_ALTERNATIVES + 9)]
    fields = custom_fields([word])
    assert fields["pronunciations"] == [word[:MAX_ALTERNATIVES]]
    check_alternatives(fields)


def prepare_layout(layout: str, folder: Path, text: str, lexicon: Path) -> None:
    """Prepares a corpus whose every utterance has the text."""
    options: dict[str, Any] = {"lexicon": lexicon}
    if layout == "kaldi":
        source = make_kaldi(folder, {f"ann-{number}": text for number in range(3)})
    elif layout == "librispeech":
        source = make_librispeech(folder / "one", ["7001", "7002", "7003"], text=text)
    else:
        source = make_folder(folder, {f"ann/{number}.txt": text for number in range(3)})
        options["symbols"] = "ipa" if layout == "ipa" else None
    name = "folder" if layout == "ipa" else layout
    prepare_corpus(name, source, as_name="mine", progress=False, **options)


@pytest.mark.parametrize("layout", ["kaldi", "folder", "librispeech"])
def test_every_pronunciation_is_kept(tmp_path: Path, lexicon: Path, layout: str) -> None:
    prepare_layout(layout, tmp_path / "in", "A call", lexicon)
    corpus = load_corpus("mine")
    assert corpus.phonemes == ("AH", "AO", "EY", "K", "L")  # the second one has EY
    for split in ("train", "dev", "test"):
        for cut in corpus.cuts(split):
            assert cut.supervisions[0].custom == {
                "phonemes": ["AH", "K", "AO", "L"],
                "pronunciations": [[["AH"], ["EY"]], [["K", "AO", "L"]]],
            }
    assert not [problem for problem in check_corpus(corpus).problems if "list" in problem.what]


def test_alternatives_are_converted_too(tmp_path: Path, lexicon: Path) -> None:
    prepare_layout("ipa", tmp_path / "in", "A call", lexicon)
    custom = load_corpus("mine").cuts("train")[0].supervisions[0].custom
    assert custom["pronunciations"] == [[["ʌ"], ["eɪ"]], [["k", "ɔ", "l"]]]


@pytest.mark.parametrize("layout", ["kaldi", "folder", "librispeech"])
def test_without_alternatives_there_is_no_field(tmp_path: Path, lexicon: Path, layout: str) -> None:
    prepare_layout(layout, tmp_path / "in", "call call", lexicon)
    custom = load_corpus("mine").cuts("train")[0].supervisions[0].custom
    assert custom == {"phonemes": ["K", "AO", "L"] * 2}


def test_alternatives_survive_lhotse(tmp_path: Path, lexicon: Path) -> None:
    prepare_layout("kaldi", tmp_path / "in", "A call", lexicon)
    first = load_corpus("mine")
    prepare_corpus("lhotse", first.folder, as_name="again", audio=tmp_path / "in")
    again = load_corpus("again")
    assert again.phonemes == first.phonemes
    assert list(again.cuts("dev")) == list(first.cuts("dev"))
