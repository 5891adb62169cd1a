from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.decoding.closest_reference import closest_reference
from phoneme_moe.decoding.scoring import score_utterance

phonemes = st.sampled_from("abc")
pronunciation = st.lists(phonemes, min_size=1, max_size=3)
words = st.lists(st.lists(pronunciation, min_size=1, max_size=3), max_size=4)


def errors(chosen: list[list[str]], hypothesis: list[str]) -> int:
    score = score_utterance([p for word in chosen for p in word], hypothesis)
    return score.substitutions + score.insertions + score.deletions


@given(words=words, hypothesis=st.lists(phonemes, max_size=8))
def test_no_other_choice_has_fewer_errors(
    words: list[list[list[str]]], hypothesis: list[str]
) -> None:
    chosen = closest_reference(words, hypothesis)
    assert len(chosen) == len(words)
    found = errors([word[i] for word, i in zip(words, chosen, strict=True)], hypothesis)
    assert found == min(errors(list(choice), hypothesis) for choice in product(*words))


@given(words=st.lists(st.lists(pronunciation, min_size=1, max_size=1), max_size=5))
def test_a_word_with_one_pronunciation_has_no_choice(words: list[list[list[str]]]) -> None:
    assert closest_reference(words, ["a", "b"]) == [0] * len(words)


def test_the_first_of_equally_close_ones_is_chosen() -> None:
    assert closest_reference([[["a", "b"], ["a", "c"]]], ["a", "d"]) == [0]
    assert closest_reference([[["a", "b"], ["a", "c"]], [["d"]]], ["a", "c", "d"]) == [1, 0]
