"""Which frames are right or wrong: those that emit a phoneme, and never those of the blank."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.decoding.scoring import score_utterance
from phoneme_moe.report.collect.frame_phonemes import judged_rows

SYMBOLS = ("a", "i", "m")


def judged(outputs: list[int], reference: list[str], kind: str = "recognize") -> Any:
    """The masks for frames whose greatest posterior is that of the given outputs."""
    phonemes = PhonemeSet(SYMBOLS, has_blank=kind == "recognize")
    recognizer: Any = SimpleNamespace(task=SimpleNamespace(kind=kind), phonemes=phonemes)
    example: Any = SimpleNamespace(phonemes=tuple(reference))
    posteriors = torch.full((len(outputs), phonemes.num_outputs), -9.0)
    posteriors[torch.arange(len(outputs)), torch.tensor(outputs, dtype=torch.long)] = 0.0
    return judged_rows(recognizer, example, posteriors)


def runs(outputs: list[int]) -> list[int]:
    """Greedy decoding: repeats merged, blanks removed."""
    merged = outputs[:1] + [b for a, b in pairwise(outputs) if a != b]
    return [output for output in merged if output]


def test_frames_of_the_blank_are_neither_right_nor_wrong() -> None:
    seen, right = judged([0, 1, 1, 0, 0, 0, 3, 0, 2, 0], ["a", "m", "m"])
    assert seen.tolist() == [bool(output) for output in [0, 1, 1, 0, 0, 0, 3, 0, 2, 0]]
    assert np.flatnonzero(right).tolist() == [1, 2, 6]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_a_perfect_hypothesis_has_no_wrong_frame(outputs: list[int]) -> None:
    reference = [SYMBOLS[output - 1] for output in runs(outputs)]
    seen, right = judged(outputs, reference)
    np.testing.assert_array_equal(seen, right)
    np.testing.assert_array_equal(seen, np.array(outputs) > 0)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=8),
)
def test_wrong_phonemes_are_the_substitutions_and_insertions(
    outputs: list[int], reference: list[str]
) -> None:
    seen, right = judged(outputs, reference)
    assert not (right & ~seen).any()
    # One frame of each emitted phoneme: the first of its run.
    first = np.flatnonzero(np.diff(outputs, prepend=0) != 0)
    wrong = sum(bool(seen[i] and not right[i]) for i in first)
    score = score_utterance(reference, [SYMBOLS[output - 1] for output in runs(outputs)])
    assert wrong == score.substitutions + score.insertions


def test_a_token_is_right_or_wrong_and_without_a_reference_nothing_is() -> None:
    assert [mask.tolist() for mask in judged([2], ["m"], "classify")] == [[True], [True]]
    assert [mask.tolist() for mask in judged([1], ["m"], "classify")] == [[True], [False]]
    assert not judged([1, 0, 2], [])[0].any()
