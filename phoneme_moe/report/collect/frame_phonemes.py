"""The reference phoneme spoken in each row, and the recognised phoneme aligned with it.

Legend: T rows (frames, or one token), P outputs with the blank first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.scoring import align_phonemes, correct_phonemes
from phoneme_moe.decoding.viterbi import force_align, min_num_frames, share_gaps
from phoneme_moe.model.recognizer import Recognizer


def phoneme_rows(
    recognizer: Recognizer, example: Example, log_posteriors: Tensor
) -> NDArray[np.int64]:
    """Index of the phoneme spoken in each row of an utterance.

    This is the phoneme at the centre of the row if the corpus has times; otherwise that of the
    model's forced alignment of the reference, where blanks between two phonemes belong to the
    nearer one.

    Args:
        recognizer: The model that gave the posteriors.
        example: The utterance or token.
        log_posteriors: Log posteriors, shape (rows, outputs).

    Returns:
        Index of the reference phoneme, shape (rows,); -1 for none.
    """
    num_rows = len(log_posteriors)
    numbers = np.full(num_rows, -1)
    if recognizer.task.kind == "classify":
        return np.zeros(num_rows, dtype=np.int64)
    if example.spans:
        centres = (np.arange(num_rows) + 0.5) * recognizer.frame_seconds
        for number, (_, start, end) in enumerate(example.spans):
            first, last = np.searchsorted(centres, (start, end))
            numbers[first:last] = number
        return numbers
    if not example.phonemes or any(p not in recognizer.phonemes for p in example.phonemes):
        return numbers
    targets = recognizer.phonemes.encode(example.phonemes)
    if min_num_frames(targets) > num_rows:
        return numbers
    (spans,) = force_align(log_posteriors.float().numpy()[None], [num_rows], [targets])
    for number, (start, end) in enumerate(share_gaps(spans).tolist()):
        numbers[start:end] = number
    return numbers


def judged_rows(
    recognizer: Recognizer, example: Example, log_posteriors: Tensor
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows of an utterance are right or wrong, and which are right.

    A CTC model leaves most frames to the blank, also in a perfect transcript, and emits phonemes
    neither at their boundaries nor for all of their duration. So only frames that emit a phoneme
    are judged, by whether that phoneme is correct in the alignment with the reference, as in
    scoring. A token is always judged.

    Args:
        recognizer: The model that gave the posteriors.
        example: The utterance or token; without a reference no row is judged.
        log_posteriors: Log posteriors, shape (rows, outputs).

    Returns:
        Two masks of shape (rows,).
    """
    best = log_posteriors.argmax(dim=-1).numpy()
    symbols = recognizer.phonemes
    judged = np.full(len(best), bool(example.phonemes))
    if recognizer.task.kind == "classify":
        correct = [symbols.decode([int(one)]) == list(example.phonemes) for one in best]
        return judged, judged & np.array(correct, dtype=np.bool_)
    judged &= best != BLANK
    # Runs of the same output, of which each that is no blank is one emitted phoneme.
    run = np.cumsum(np.diff(best, prepend=-1) != 0) - 1
    first = np.flatnonzero(np.diff(best, prepend=-1))
    emits = best[first] != BLANK
    right = np.zeros(len(first), dtype=np.bool_)
    right[emits] = correct_phonemes(example.phonemes, symbols.decode(best[first][emits].tolist()))
    return judged, judged & right[run]


def decoded_phonemes(reference: Sequence[str], hypothesis: Sequence[str]) -> list[str | None]:
    """The recognised phoneme aligned with each reference phoneme, as in scoring.

    Args:
        reference: Phonemes of the reference.
        hypothesis: Recognised phonemes.

    Returns:
        The recognised phoneme for each reference phoneme; None for a deletion.
    """
    decoded: list[str | None] = [None] * len(reference)
    for index, position in align_phonemes(reference, hypothesis):
        if index is not None and position is not None:
            decoded[index] = hypothesis[position]
    return decoded
