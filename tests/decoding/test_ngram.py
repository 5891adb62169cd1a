from __future__ import annotations

import json
from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.decoding.document import NgramDocument
from phoneme_moe.decoding.ngram import PhonemeNgram, TextNgram, _discounts
from phoneme_moe.decoding.ngram_counts import count_ngrams
from phoneme_moe.errors import InputError

SYMBOLS = ("a", "b", "c")
corpora = st.lists(st.lists(st.sampled_from(SYMBOLS), max_size=8).map(tuple), max_size=12)
Gram = tuple[str, ...]


def estimate_slowly(utterances: list[Gram], order: int, context: Gram, symbol: str) -> float:
    """Interpolated modified Kneser-Ney as its definition reads, one begin mark to an utterance."""
    size = len(context) + 1
    counts = Counter(count_grams(utterances, order, size))
    discounts = _discounts(np.array(sorted(counts.values()), np.int64))
    shorter = 1 / (len(SYMBOLS) + 1)
    if context:
        shorter = estimate_slowly(utterances, order, context[1:], symbol)
    following = {gram: count for gram, count in counts.items() if gram[:-1] == context}
    total = sum(following.values())
    if not total:
        return shorter
    freed = sum(discounts[min(count, 3)] for count in following.values())
    count = following.get((*context, symbol), 0)
    return float((count - discounts[min(count, 3)] + freed * shorter) / total)


def count_grams(utterances: list[Gram], order: int, size: int) -> list[Gram]:
    """N-grams of a size: each as often as it counts."""
    marked = [("<s>", *utterance, "</s>") for utterance in utterances]
    seen = [
        utterance[i : i + size] for utterance in marked for i in range(len(utterance) - size + 1)
    ]
    seen = [gram for gram in seen if gram != ("<s>",)]
    if size == order:
        return seen
    begun = [gram for gram in seen if gram[0] == "<s>"]
    longer = {
        utterance[i : i + size + 1] for utterance in marked for i in range(len(utterance) - size)
    }
    return begun + [gram[1:] for gram in longer]


@pytest.mark.slow
@given(utterances=corpora, order=st.integers(1, 6), spoken=st.lists(st.sampled_from(SYMBOLS)))
def test_every_probability_is_that_of_the_definition(
    utterances: list[Gram], order: int, spoken: list[str]
) -> None:
    model = PhonemeNgram.estimate(utterances, SYMBOLS, order)
    marked = ["<s>", *spoken, "</s>"]
    expected = 0.0
    for place in range(1, len(marked)):
        context = tuple(marked[max(place - order + 1, 0) : place])
        expected += np.log(estimate_slowly(utterances, order, context, marked[place]))
    assert model.log_probability(spoken) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@given(utterances=corpora, order=st.integers(1, 6))
def test_in_every_state_something_comes_next(utterances: list[Gram], order: int) -> None:
    model = PhonemeNgram.estimate(utterances, SYMBOLS, order)
    assert model.log_probabilities.dtype == np.float32
    assert model.log_probabilities.shape[1] == len(SYMBOLS) + 1
    np.testing.assert_allclose(np.exp(model.log_probabilities).sum(axis=1), 1, rtol=1e-5)
    assert np.isfinite(model.log_probabilities).all()


@pytest.mark.slow
@given(utterances=corpora, order=st.integers(1, 6))
def test_states_may_be_followed_side_by_side(utterances: list[Gram], order: int) -> None:
    model = PhonemeNgram.estimate(utterances, SYMBOLS, order)
    sequences = np.array(list(product(range(len(SYMBOLS)), repeat=4)))
    states, total = np.full(len(sequences), model.start_state), np.zeros(len(sequences))
    for symbols in sequences.T:
        total += model.log_probabilities[states, symbols]
        states = model.next_state(states, symbols)
    total += model.log_probabilities[states, -1]
    expected = [
        model.log_probability([SYMBOLS[symbol] for symbol in sequence]) for sequence in sequences
    ]
    np.testing.assert_allclose(total, expected, rtol=1e-6)


@pytest.mark.slow
@given(
    utterances=corpora,
    text=corpora,
    orders=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    weight=st.floats(0.01, 0.99),
    spoken=st.lists(st.sampled_from(SYMBOLS)),
)
def test_every_interpolated_probability_is_that_of_the_parts(
    utterances: list[Gram],
    text: list[Gram],
    orders: tuple[int, int],
    weight: float,
    spoken: list[str],
) -> None:
    order, of_text = orders
    counts = count_ngrams(utterances, SYMBOLS, order)
    other = TextNgram(of_text, count_ngrams(text, SYMBOLS, of_text), weight)
    model = PhonemeNgram(SYMBOLS, order, counts, other)
    marked = ["<s>", *spoken, "</s>"]
    expected = 0.0
    for place in range(1, len(marked)):
        first, second = (
            estimate_slowly(source, size, tuple(marked[max(place - size + 1, 0) : place]), symbol)
            for source, size, symbol in (
                (utterances, order, marked[place]),
                (text, of_text, marked[place]),
            )
        )
        expected += np.log((1 - weight) * first + weight * second)
    assert model.log_probability(spoken) == pytest.approx(expected, rel=1e-4)
    again = PhonemeNgram.from_document(model.to_document(), "decoding.json")
    assert again == model
    np.testing.assert_array_equal(again.log_probabilities, model.log_probabilities)


@given(utterances=corpora, order=st.integers(1, 6))
def test_ngrams_are_counted_as_by_hand(utterances: list[Gram], order: int) -> None:
    base = len(SYMBOLS) + 1
    expected: Counter[int] = Counter()
    for utterance in utterances:
        gram = 0
        for digit in [*(SYMBOLS.index(symbol) + 1 for symbol in utterance), 0]:
            gram = (gram * base + digit) % base**order
            expected[gram] += 1
    assert count_ngrams(utterances, SYMBOLS, order) == dict(expected)


def test_a_bigram_worked_by_hand() -> None:
    # Seen: <s> a, a b, b </s>, once each. Too few to estimate the discount: 1/2. Each of a, b and
    # </s> has followed one thing: 1/3 of what is left. So what was seen has 1/2 + 1/2 * 1/3.
    model = PhonemeNgram.estimate([["a", "b"]], ("a", "b"), order=2)
    seen, unseen = 2 / 3, 1 / 6
    for text, probability in (
        ("ab", seen**3),
        ("b", unseen * seen),
        ("", unseen),
        ("ba", unseen**3),
        ("aab", seen * unseen * seen**2),
    ):
        assert np.exp(model.log_probability(list(text))) == pytest.approx(probability)
    assert model.perplexity([["a", "b"]]) == pytest.approx(1.5)
    assert model.perplexity([["a", "b"], []]) == pytest.approx((seen**3 * unseen) ** (-1 / 4))


def test_discounts_worked_by_hand() -> None:
    # Eight n-grams seen once, four twice, three three times, two four times: Y = 1/2.
    counts = np.repeat([1, 2, 3, 4, 9], [8, 4, 3, 2, 1])
    found = _discounts(counts)
    np.testing.assert_allclose(found, [0, 1 - 1 / 2, 2 - 3 / 2 * 3 / 4, 3 - 2 * 2 / 3])


@given(counts=st.lists(st.integers(1, 6), max_size=40))
def test_discounts_leave_something_and_take_something(counts: list[int]) -> None:
    found = _discounts(np.array(counts, np.int64))
    assert found[0] == 0
    assert (found[1:] > 0).all()
    assert (found[1:] < [1, 2, 3]).all()


def test_nothing_to_learn_from_is_evenly_unsure() -> None:
    model = PhonemeNgram.estimate([], SYMBOLS, order=3)
    assert model.perplexity([["a", "b"], []]) == pytest.approx(4)


def test_what_is_no_symbol_is_left_out() -> None:
    with_noise = PhonemeNgram.estimate([["a", "noise", "b"]], SYMBOLS)
    assert with_noise.to_document() == PhonemeNgram.estimate([["a", "b"]], SYMBOLS).to_document()


def test_a_longer_memory_surprises_less() -> None:
    random = np.random.default_rng(0)
    word = {0: "ab", 1: "acb", 2: "bca"}
    sentences = ["".join(word[n] for n in random.integers(3, size=5)) for _ in range(200)]
    by_order = [
        PhonemeNgram.estimate(sentences[:100], SYMBOLS, order).perplexity(sentences[100:])
        for order in (1, 2, 3, 4)
    ]
    assert by_order == sorted(by_order, reverse=True)


def read_ngram(data: Any, where: str) -> PhonemeNgram:
    return PhonemeNgram.from_document(NgramDocument.parse(data, where), where)


@given(utterances=corpora, order=st.integers(1, 6))
def test_what_is_written_is_read(utterances: list[Gram], order: int) -> None:
    model = PhonemeNgram.estimate(utterances, SYMBOLS, order)
    read = read_ngram(json.loads(model.to_document().model_dump_json()), "run")
    assert (read.symbols, read.order) == (model.symbols, model.order)
    assert read.to_document() == model.to_document()
    np.testing.assert_array_equal(read.log_probabilities, model.log_probabilities)


GOOD = PhonemeNgram.estimate([["a", "b"]], ("a", "b"), order=3).to_document().model_dump()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "version: found 2, expected 1"),
        ({"order": 0}, "order: found 0, expected at least 1"),
        ({"order": 7}, "order: found 7, expected at most 6"),
        ({"order": 3.0}, "order: found 3.0, expected a valid integer"),
        ({"order": True}, "order: found True"),
        ({"symbols": "ab"}, "symbols: found 'ab', expected a valid list"),
        ({"symbols": []}, r"symbols: found \[\]"),
        ({"symbols": ["a", "b", "a"]}, r"symbols\.2: found 'a'"),
        ({"symbols": ["a", 1]}, r"symbols\.1: found 1"),
        ({"symbols": ["a", "b b"]}, r"symbols\.1: found 'b b'"),
        ({"symbols": ["a", "b", "<s>"]}, r"symbols\.2: found '<s>'"),
        ({"symbols": ["a", ""]}, r"symbols\.1: found ''"),
        ({"counts": []}, r"counts: found \[\], expected an object"),
        ({"counts": {"a": {"b": 1}}}, "counts: found 'a', expected 2 known phonemes"),
        ({"counts": {"a c": {"b": 1}}}, "counts: found 'a c', expected 2 known phonemes"),
        ({"counts": {"a <s>": {"b": 1}}}, "counts: found 'a <s>'"),
        ({"counts": {"a b": 1}}, "counts.a b: found 1, expected an object"),
        ({"counts": {"a b": {"<s>": 1}}}, "counts.a b: found '<s>'"),
        *(
            ({"counts": {"a b": {"a": bad}}}, "counts.a b.a: found ")
            for bad in (0, -1, 1.0, float("nan"), "1", None, True, 10**30)
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=rf"^run/x\.json[:.] ?{named}") as error:
        read_ngram({**GOOD, **change}, "run/x.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", GOOD)
def test_nothing_may_be_missing(key: str) -> None:
    with pytest.raises(InputError, match=f"run: {key} is missing"):
        read_ngram({k: v for k, v in GOOD.items() if k != key}, "run")


@pytest.mark.parametrize("data", [None, [], "x", 1.5])
def test_what_is_no_object_is_refused(data: object) -> None:
    with pytest.raises(InputError, match=r"run: found .*, expected an object"):
        read_ngram(data, "run")
