"""Alignment of the letters of words with their phonemes.

Every letter is aligned with none, one or two phonemes that follow each other; a letter with its
phonemes is a graphone (Bisani & Ney 2008, "Joint-sequence models for grapheme-to-phoneme
conversion", Speech Communication 50). The probabilities of the phonemes of a letter are estimated
by expectation maximisation over all alignments; words of equal lengths are computed together.

Shapes: B words of equal lengths, L letters, P phonemes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_LETTERS = 40
"""Longer words are left out: their probabilities could be too small for a float."""
NUM_ITERATIONS = 8
_WIDTHS = (0, 1, 2)
_INITIAL_WEIGHTS = (0.1, 1.0, 0.02)
"""Of no phoneme, one and two: most letters stand for one."""

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
Graphone = tuple[str, tuple[str, ...]]
"""A letter with its phonemes."""


@dataclass(frozen=True)
class _Batch:
    """Words with the same number of letters and of phonemes.

    Attributes:
        words: The index of each word, (B,).
        graphones: The graphone of each letter with no phoneme (B, L, 1), with the phoneme at each
            place (B, L, P), and with that one and the next (B, L, P - 1).
    """

    words: Ids
    graphones: tuple[Ids, ...]


def align(entries: Sequence[tuple[str, tuple[str, ...]]]) -> list[list[Graphone]]:
    """The most probable alignment of every word.

    Args:
        entries: Words with their phonemes. Words are left out if they have more than
            ``MAX_LETTERS`` letters, or more than two phonemes for each letter.

    Returns:
        The graphones of each word, in the order of the entries.
    """
    letters = sorted({letter for word, _ in entries for letter in word})
    phonemes = sorted({phoneme for _, sequence in entries for phoneme in sequence})
    batches = _batches(entries, letters, phonemes)
    if not batches:
        return []
    batches, keys = _numbered(batches)
    size = len(phonemes) + 1
    letter, first, second = keys // size**2, keys // size % size, keys % size
    probabilities = np.array(_INITIAL_WEIGHTS)[(first > 0).astype(int) + (second > 0)]
    for _ in range(NUM_ITERATIONS):
        counts = np.zeros(len(keys))
        for batch in batches:
            _add_expected_counts(batch, probabilities, counts)
        totals = np.bincount(letter, counts, minlength=len(letters))
        probabilities = counts / np.maximum(totals[letter], np.finfo(float).tiny)
    graphones = [
        (letters[i], tuple(phonemes[p - 1] for p in pair if p))
        for i, *pair in zip(letter.tolist(), first.tolist(), second.tolist(), strict=True)
    ]
    aligned: dict[int, list[Graphone]] = {}
    for batch in batches:
        possible, paths = _best_paths(batch, probabilities)
        for word, path in zip(batch.words[possible], paths[possible], strict=True):
            aligned[int(word)] = [graphones[id] for id in path]
    return [aligned[word] for word in sorted(aligned)]


def _batches(
    entries: Sequence[tuple[str, tuple[str, ...]]], letters: list[str], phonemes: list[str]
) -> list[_Batch]:
    """Words of equal lengths together; a graphone is letter * (P + 1)^2 + first * (P + 1) + second.

    P is the number of phonemes of the lexicon; first and second are 0 for no phoneme.
    """
    letter_ids = {letter: i for i, letter in enumerate(letters)}
    phoneme_ids = {phoneme: i for i, phoneme in enumerate(phonemes, 1)}
    size = len(phonemes) + 1
    groups: dict[tuple[int, int], list[int]] = {}
    for index, (word, sequence) in enumerate(entries):
        if 0 < len(word) <= MAX_LETTERS and 0 < len(sequence) <= 2 * len(word):
            groups.setdefault((len(word), len(sequence)), []).append(index)
    batches = []
    for _, group in sorted(groups.items()):
        spelling = np.array([[letter_ids[c] for c in entries[index][0]] for index in group])
        spoken = np.array([[phoneme_ids[p] for p in entries[index][1]] for index in group])
        base = spelling[:, :, None] * size**2
        one = base + spoken[:, None, :] * size
        two = one[:, :, :-1] + spoken[:, None, 1:]
        batches.append(_Batch(np.array(group), (base, one, two)))
    return batches


def _numbered(batches: list[_Batch]) -> tuple[list[_Batch], Ids]:
    """The same batches with graphones numbered from 0, in the order of the keys; the keys."""
    keys = np.unique(np.concatenate([np.unique(a) for b in batches for a in b.graphones]))
    numbered = [
        _Batch(batch.words, tuple(np.searchsorted(keys, array) for array in batch.graphones))
        for batch in batches
    ]
    return numbered, keys


def _add_expected_counts(batch: _Batch, probabilities: Floats, counts: Floats) -> None:
    """Adds how often each graphone is expected in the words, over all alignments."""
    steps = [probabilities[graphones] for graphones in batch.graphones]
    num_words, num_letters, num_phonemes = steps[1].shape
    # forward[:, i, j]: of the first i letters with the first j phonemes; backward: of the others.
    forward = np.zeros((num_words, num_letters + 1, num_phonemes + 1))
    backward = np.zeros_like(forward)
    forward[:, 0, 0] = backward[:, -1, -1] = 1
    for i in range(num_letters):
        for width in _WIDTHS:
            end = num_phonemes + 1 - width
            forward[:, i + 1, width:] += forward[:, i, :end] * steps[width][:, i]
    for i in reversed(range(num_letters)):
        for width in _WIDTHS:
            end = num_phonemes + 1 - width
            backward[:, i, :end] += backward[:, i + 1, width:] * steps[width][:, i]
    total = forward[:, -1, -1]
    scale = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
    for width in _WIDTHS:
        end = num_phonemes + 1 - width
        expected = forward[:, :-1, :end] * steps[width] * backward[:, 1:, width:]
        expected *= scale[:, None, None]
        ids = np.broadcast_to(batch.graphones[width], expected.shape)
        counts += np.bincount(ids.ravel(), expected.ravel(), minlength=len(counts))


def _best_paths(batch: _Batch, probabilities: Floats) -> tuple[NDArray[np.bool_], Ids]:
    """Whether each word has an alignment (B,), and the graphones of the best one (B, L)."""
    with np.errstate(divide="ignore"):
        steps = [np.log(probabilities[graphones]) for graphones in batch.graphones]
    num_words, num_letters, num_phonemes = steps[1].shape
    best = np.full((num_words, num_phonemes + 1), -np.inf)
    best[:, 0] = 0
    widths = np.zeros((num_words, num_letters, num_phonemes + 1), dtype=np.int8)
    for i in range(num_letters):
        scores = np.full((len(_WIDTHS), num_words, num_phonemes + 1), -np.inf)
        for width in _WIDTHS:
            end = num_phonemes + 1 - width
            scores[width, :, width:] = best[:, :end] + steps[width][:, i]
        widths[:, i] = scores.argmax(0)
        best = scores.max(0)
    paths = np.zeros((num_words, num_letters), dtype=np.int64)
    rows, place = np.arange(num_words), np.full(num_words, num_phonemes)
    for i in reversed(range(num_letters)):
        taken = widths[rows, i, place]
        place = place - taken
        for width in _WIDTHS:
            chosen = np.flatnonzero(taken == width)
            column = np.zeros_like(chosen) if width == 0 else place[chosen]
            paths[chosen, i] = batch.graphones[width][chosen, i, column]
    return np.isfinite(best[:, -1]), paths
