"""Pronunciations of unknown words: alignment, n-grams, and what commands do with guesses."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.corpora import SPLITS, is_prepared, load_corpus, prepare_corpus
from phoneme_moe.corpora.g2p import GraphemeToPhoneme
from phoneme_moe.corpora.g2p.alignment import MAX_LETTERS, align
from phoneme_moe.corpora.g2p.ngram import END, START, NGram
from phoneme_moe.corpora.lexicon import Lexicon, read_lexicon
from phoneme_moe.errors import InputError

from .layouts import make_folder

if TYPE_CHECKING:
    from conftest import Outcome

LETTERS = {"a": "A", "e": "E", "i": "I", "b": "B", "d": "D", "g": "G", "n": "N", "s": "S"}
"""A regular language: these letters, ``x`` for K S, silent ``h``, and ``c`` as in Italian."""


def regular_pronunciation(word: str) -> tuple[str, ...]:
    phonemes: list[str] = []
    for letter, following in zip(word, word[1:] + " ", strict=True):
        if letter == "x":
            phonemes += ["K", "S"]
        elif letter == "c":
            phonemes.append("CH" if following in "ei" else "K")
        elif letter != "h":
            phonemes.append(LETTERS[letter])
    return tuple(phonemes)


def regular_words(number: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    syllables = [c + v + e for c in "bdgncxh" for v in "aei" for e in ("", "n", "s")]
    return ["".join(chance.choices(syllables, k=chance.randint(2, 4))) for _ in range(number)]


@pytest.fixture(scope="module")
def regular() -> GraphemeToPhoneme:
    return GraphemeToPhoneme((word, regular_pronunciation(word)) for word in regular_words(600, 0))


entries = st.lists(
    st.tuples(
        st.text("abc", min_size=1, max_size=5),
        st.lists(st.sampled_from(["X", "Y", "Z"]), min_size=1, max_size=11).map(tuple),
    ),
    max_size=12,
)


@given(entries)
def test_graphones_are_the_word_and_its_phonemes(
    entries: list[tuple[str, tuple[str, ...]]],
) -> None:
    aligned = [
        ("".join(letter for letter, _ in word), tuple(p for _, those in word for p in those))
        for word in align(entries)
    ]
    assert aligned == [(word, p) for word, p in entries if len(p) <= 2 * len(word)]
    assert all(len(phonemes) <= 2 for word in align(entries) for _, phonemes in word)


def test_the_alignment_of_a_regular_language_is_its_rules() -> None:
    words = regular_words(300, 1)
    for word in align([(word, regular_pronunciation(word)) for word in words]):
        for letter, phonemes in word:
            if letter in LETTERS:
                assert phonemes == (LETTERS[letter],)
            elif letter == "c":
                assert phonemes in {("K",), ("CH",)}
            else:
                assert phonemes == {"x": ("K", "S"), "h": ()}[letter]


def test_words_that_cannot_be_aligned_are_left_out() -> None:
    long = "a" * (MAX_LETTERS + 1)
    assert align([("a", ("A", "B", "C")), (long, ("A",)), ("a", ("A",))]) == [[("a", ("A",))]]
    assert align([]) == []


sequences = st.lists(st.lists(st.integers(2, 4), min_size=1, max_size=8), min_size=1, max_size=12)


def probability(model: NGram, history: Sequence[int], symbol: int) -> float:
    state = model.start()
    for one in history:
        _, state = model.score(state, np.array([one]))
    score, _ = model.score(state, np.array([symbol]))
    return math.exp(score[0])


@given(sequences, st.lists(st.integers(2, 4), max_size=4), st.integers(2, 4))
def test_probabilities_after_any_history_sum_to_one(
    sequences: list[list[int]], history: list[int], order: int
) -> None:
    model = NGram(sequences, 5, order)
    assert sum(probability(model, history, symbol) for symbol in range(END, 5)) == pytest.approx(1)


def reference_probability(
    sequences: list[list[int]], order: int, history: Sequence[int], symbol: int
) -> float:
    """Interpolated modified Kneser-Ney with dictionaries, as in Chen & Goodman 1999."""
    padded = [[START, *one, END] for one in sequences]
    raw = [
        Counter(tuple(one[e - n : e]) for one in padded for e in range(max(n, 2), len(one) + 1))
        for n in range(1, order + 1)
    ]

    @cache
    def counts(length: int) -> Counter[tuple[int, ...]]:
        if length == order:
            return raw[length - 1]
        preceded = Counter(gram[1:] for gram in raw[length])
        return Counter({gram: preceded[gram] or raw[length - 1][gram] for gram in raw[length - 1]})

    def discount(length: int, count: int) -> float:
        n1, n2, n3, n4 = (sum(c == k for c in counts(length).values()) for k in (1, 2, 3, 4))
        if not (n1 and n2 and n3):
            return 0.5
        y = n1 / (n1 + 2 * n2)
        all_three = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        return min(max(all_three[min(count, 3) - 1], 0.01), min(count, 3) - 0.01)

    def smoothed(context: tuple[int, ...]) -> float:
        length = len(context) + 1
        lower = smoothed(context[1:]) if context else 1 / 4
        after = {g: c for g, c in counts(length).items() if g[:-1] == context}
        if not after:
            return lower
        total = sum(after.values())
        left = sum(discount(length, c) for c in after.values())
        count = after.get((*context, symbol), 0)
        kept = count - discount(length, count) if count else 0
        return (kept + left * lower) / total

    return smoothed(tuple([START, *history][-(order - 1) :]))


@given(sequences, st.lists(st.integers(2, 4), max_size=4), st.integers(END, 4), st.integers(2, 4))
def test_probabilities_are_those_of_kneser_and_ney(
    sequences: list[list[int]], history: list[int], symbol: int, order: int
) -> None:
    expected = reference_probability(sequences, order, history, symbol)
    found = probability(NGram(sequences, 5, order), history, symbol)
    assert found == pytest.approx(expected)


def test_other_words_of_a_regular_language(regular: GraphemeToPhoneme) -> None:
    words = set(regular_words(200, 2)) - set(regular_words(600, 0))
    assert len(words) > 100
    assert {w: regular.pronounce(w) for w in words} == {w: regular_pronunciation(w) for w in words}


@pytest.mark.parametrize(
    "word", ["", "2ba", "ba2", "дом", "bazaz", "hh", "ba" * 30, "[ba]", "ba b"]
)
def test_words_without_a_guess(regular: GraphemeToPhoneme, word: str) -> None:
    assert regular.pronounce(word) is None


def test_case_and_unknown_accents_make_no_difference(regular: GraphemeToPhoneme) -> None:
    assert regular.pronounce("BÁNCE") == regular.pronounce("bance") == ("B", "A", "N", "CH", "E")


def test_an_accent_of_the_lexicon_makes_one() -> None:
    model = GraphemeToPhoneme([("pâté", ("p", "ɑ", "t", "e")), ("pate", ("p", "a", "t"))] * 2)
    assert model.pronounce("té") == ("t", "e")
    assert model.pronounce("te") == ("t",)


def test_a_lexicon_without_words_to_learn_from() -> None:
    assert GraphemeToPhoneme([]).pronounce("a") is None
    assert GraphemeToPhoneme([("[noise]", ("N",)), ("4", ("F",))]).pronounce("noise") is None


def test_guesses_are_the_same_every_time(regular: GraphemeToPhoneme) -> None:
    words = regular_words(600, 0)
    again = GraphemeToPhoneme((word, regular_pronunciation(word)) for word in words)
    others = ["".join(random.Random(n).choices("abceghinsx", k=12)) for n in range(50)]
    assert [again.pronounce(word) for word in others] == [regular.pronounce(w) for w in others]


def test_known_parts_of_a_compound_are_looked_up() -> None:
    lexicon = Lexicon([("one", ("W", "AH", "N")), ("on", ("AA", "N")), ("no", ("N", "OW"))])
    assert lexicon.guess("one-on-one") == ("W", "AH", "N", "AA", "N", "W", "AH", "N")
    assert lexicon.guess("-one") == ("W", "AH", "N")
    assert lexicon.guess("one-4") is None
    assert lexicon.guess("-") is None


@pytest.fixture
def recordings(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of recordings with texts in the regular language, and a lexicon without two words.

    One utterance has a word with a digit.
    """
    words = sorted(set(regular_words(100, 3)))
    labels = {f"ann/{n}.txt": " ".join(words[n : n + 3]) for n in range(4)}
    labels |= {f"bo/{n}.txt": " ".join(words[n + 1 : n + 3]) for n in range(3)}
    labels["bo/9.txt"] = f"{words[5]} 2b"
    lexicon = tmp_path / "lexicon.txt"
    rows = [f"{word} {' '.join(regular_pronunciation(word))}\n" for word in words[2:4] + words[5:]]
    lexicon.write_text("".join(rows))
    return make_folder(tmp_path / "in", labels), lexicon


def test_a_corpus_with_guesses(recordings: tuple[Path, Path]) -> None:
    source, lexicon = recordings
    prepare_corpus("folder", source, as_name="mine", lexicon=lexicon, unknown_words="g2p")
    corpus = load_corpus("mine")
    cuts = {cut.id: cut.supervisions[0] for split in SPLITS for cut in corpus.cuts(split)}
    assert "bo-9" not in cuts
    assert len(cuts) == 7
    for supervision in cuts.values():
        expected = [p for word in supervision.text.split() for p in regular_pronunciation(word)]
        assert supervision.custom["phonemes"] == expected
    words = sorted(set(regular_words(100, 3)))
    left_out, guessed, unknown = corpus.notes
    assert left_out.startswith("utterances with words that are not in the lexicon, left out: 1 ")
    assert guessed == (
        "words that are not in the lexicon, pronunciations guessed: 3, in 7 places "
        f"(first: {words[0]}, {words[1]}, {words[4]})"
    )
    assert unknown == "words that are not in the lexicon: 1 (first: 2b)"
    assert is_prepared("folder", source, as_name="mine", lexicon=lexicon, unknown_words="g2p")
    assert not is_prepared("folder", source, as_name="mine", lexicon=lexicon, unknown_words="skip")


def test_an_unknown_value(recordings: tuple[Path, Path]) -> None:
    source, lexicon = recordings
    with pytest.raises(InputError, match=r"^unknown_words: found 'gp2' \(did you mean 'g2p'\?\)$"):
        prepare_corpus("folder", source, as_name="m", lexicon=lexicon, unknown_words="gp2")


def test_guesses_become_a_lexicon(
    recordings: tuple[Path, Path], tmp_path: Path, phoneme_moe: Callable[..., Outcome]
) -> None:
    source, lexicon = recordings
    command = ("corpora", "unknown-words", "--from", source, "--lexicon", lexicon)
    outcome = phoneme_moe(
        *command, "--out", tmp_path / "guesses.txt", "--json", tmp_path / "w.json"
    )
    assert outcome.code == 0, outcome.err
    rows = [line.split("\t") for line in outcome.out.splitlines()]
    assert {row[0]: row[3] for row in rows} == {
        row[0]: "?" if row[0] == "2b" else " ".join(regular_pronunciation(row[0])) for row in rows
    }
    data = json.loads((tmp_path / "w.json").read_text())
    schema = Path(__file__).parents[2] / "docs" / "schemas" / "unknown_words.schema.json"
    jsonschema.validate(data, json.loads(schema.read_text()), jsonschema.Draft202012Validator)
    assert [" ".join(word["guess"] or "?") for word in data["words"]] == [row[3] for row in rows]
    with lexicon.open("a") as file:
        file.write((tmp_path / "guesses.txt").read_text())
    rest = phoneme_moe(*command, "--g2p")
    assert [line.split("\t")[0] for line in rest.out.splitlines()] == ["2b"]


@pytest.mark.slow
def test_cmudict(cmudict: Path) -> None:
    from benchmarks.g2p import measure

    figures = measure(cmudict)
    per = {row["words"]: row["per"] for row in figures["rows"]}
    assert list(per.values()) == sorted(per.values(), reverse=True)
    assert per[max(per)] < 6.2
    model = read_lexicon(cmudict)
    assert model.guess("blackmailers") == ("B", "L", "AE", "K", "M", "EY", "L", "ER", "Z")
