"""CTC prefix beam search with a phoneme n-gram, many utterances and prefixes at once.

Graves 2012, section 7.5.3; Hannun et al. 2014, algorithm 1: a prefix is judged by all of its
alignments together, not by the best one. The only loop is over frames.

Legend: B utterances, K prefixes kept of each, T frames, P outputs with the blank first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.phonemes import BLANK

_NEVER = -np.inf
_NOBODY, _NO_PARENT, _EMPTY = np.arange(3, dtype=np.uint64)  # among the hashes of prefixes
_FACTOR, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)


@dataclass(frozen=True)
class Hypothesis:
    """A reading of an utterance.

    Attributes:
        outputs: Output indices in order, without blanks.
        score: ``acoustic + lm_weight * language + insertion_bonus * len(outputs)``.
        acoustic: Natural logarithm of its probability by the posteriors: of its alignments whose
            prefixes were all kept.
        language: Natural logarithm of its probability by the n-gram, the end included; 0 without
            an n-gram.
    """

    outputs: tuple[int, ...]
    score: float
    acoustic: float
    language: float


def beam_search(
    log_posteriors: NDArray[np.float32],
    num_frames: NDArray[np.int64],
    beam: int,
    language_model: PhonemeNgram | None = None,
    lm_weight: float = 0.0,
    insertion_bonus: float = 0.0,
    nbest: int = 1,
) -> list[list[Hypothesis]]:
    """The best readings of each utterance; all there are, exactly, in a beam that holds them all.

    Where prefixes are equally good the first stay, in the order of those they come from and then of
    outputs: the same on all machines and in every batch.

    Args:
        log_posteriors: Natural logarithms, shape (batch, frames, outputs).
        num_frames: Real frames of each utterance, shape (batch,).
        beam: Prefixes that are kept from frame to frame, 1 or more.
        language_model: N-gram over the outputs but the blank, in their order.
        lm_weight: What logarithms of its probabilities are multiplied by, 0 or more.
        insertion_bonus: Added to the score for each phoneme.
        nbest: Most readings of an utterance, 1 or more.

    Returns:
        Of each utterance its readings, best first, no two of them the same.
    """
    # Longest first: those that go on are then the first rows, and padding is never looked at.
    order = np.argsort(-num_frames, kind="stable")
    lengths = num_frames[order]
    search = _Search(
        log_posteriors.shape[2], len(order), beam, language_model, lm_weight, insertion_bonus
    )
    going = [int(np.count_nonzero(lengths > frame)) for frame in range(int(lengths.max(initial=0)))]
    moves = [
        search.step(log_posteriors[order[:rows], frame].astype(np.float64))
        for frame, rows in enumerate(going)
    ]
    found = search.end(moves, nbest)
    return [found[row] for row in np.argsort(order)]


class _Search:
    """The prefixes of all utterances; arrays are of shape (batch, beam)."""

    def __init__(
        self,
        outputs: int,
        batch: int,
        beam: int,
        model: PhonemeNgram | None,
        lm_weight: float,
        insertion_bonus: float,
    ) -> None:
        log_probabilities = np.zeros((1, outputs)) if model is None else model.log_probabilities
        self.then = np.zeros((1, outputs - 1), np.int64) if model is None else model.next_states
        # What each output adds, shape (states, outputs): its logarithm, and to the score. The blank
        # adds nothing, so the end, which the n-gram has last, goes to a table of its own.
        self.language = np.roll(log_probabilities.astype(np.float64), 1, axis=1)
        self.ends = self.language[:, 0].copy()
        self.language[:, 0] = 0.0
        self.gains = lm_weight * self.language + insertion_bonus * (np.arange(outputs) != BLANK)
        self.lm_weight, self.insertion_bonus = lm_weight, insertion_bonus
        shape = (batch, beam)
        self.in_blank = np.full(shape, _NEVER)  # log probability of its alignments that end so
        self.in_phoneme = np.full(shape, _NEVER)
        self.last = np.full(shape, BLANK)
        self.length = np.zeros(shape, np.int64)
        self.state = np.full(shape, 0 if model is None else model.start_state)
        self.said = np.zeros(shape)  # log probability by the n-gram
        self.hash = np.full(shape, _NOBODY)
        self.parent = np.full(shape, _NO_PARENT)  # hash of what it was before its last phoneme
        # At first there is the empty prefix and nothing else.
        self.in_blank[:, 0], self.hash[:, 0] = 0.0, _EMPTY

    def step(self, frame: NDArray[np.float64]) -> NDArray[np.int64]:
        """Goes on by a frame with as many utterances as it has rows.

        Args:
            frame: Log posteriors, shape (B, P).

        Returns:
            Of each prefix kept, which one it comes from times P, plus the output that it adds: the
            blank if none. Shape (B, K).
        """
        rows, outputs = frame.shape
        on = slice(rows)
        in_blank, in_phoneme, last = self.in_blank[on], self.in_phoneme[on], self.last[on]
        all_rows, slots = np.arange(rows)[:, None], np.arange(last.shape[1])
        either = np.logaddexp(in_blank, in_phoneme)
        # Of each prefix with each output, the blank's column being the prefix itself.
        with_output = either[:, :, None] + frame[:, None, :]  # (B, K, P)
        stays_in_blank = with_output[:, :, BLANK].copy()
        again = np.take_along_axis(frame, last, axis=1)
        stays_in_phoneme = in_phoneme + again
        # The same phoneme twice has a blank between.
        with_output[all_rows, slots, last] = in_blank + again
        # What another prefix becomes and is in the beam already is added there.
        row, child, parent = _families(self.parent[on], self.hash[on])
        met = (row, parent, last[row, child])
        stays_in_phoneme[row, child] = np.logaddexp(stays_in_phoneme[row, child], with_output[met])
        with_output[met] = _NEVER
        with_output[:, :, BLANK] = np.logaddexp(stays_in_blank, stays_in_phoneme)
        scores = with_output + self.gains[self.state[on]]
        scores += (self.lm_weight * self.said[on] + self.insertion_bonus * self.length[on])[
            :, :, None
        ]
        move = _best(scores.reshape(rows, -1), last.shape[1])
        source, output = np.divmod(move, outputs)
        self._keep(source, output)
        new = output != BLANK
        self.in_blank[on] = np.where(new, _NEVER, stays_in_blank[all_rows, source])
        said = with_output[all_rows, source, output]
        self.in_phoneme[on] = np.where(new, said, stays_in_phoneme[all_rows, source])
        # Fewer prefixes than the beam holds: what is impossible is no prefix.
        nobody = (said == _NEVER).nonzero()
        self.hash[nobody], self.parent[nobody] = _NOBODY, _NO_PARENT
        return move

    def _keep(self, source: NDArray[np.int64], output: NDArray[np.int64]) -> None:
        """Replaces the prefixes by those that come from them."""
        on = slice(len(source))

        def of(values: NDArray[Any]) -> NDArray[Any]:
            return np.take_along_axis(values[on], source, axis=1)

        new = output != BLANK
        state, before = of(self.state), of(self.hash)
        mixed = (before + output.astype(np.uint64)) * _FACTOR
        self.said[on] = of(self.said) + self.language[state, output]
        self.state[on] = np.where(new, self.then[state, output - 1], state)
        self.last[on] = np.where(new, output, of(self.last))
        self.length[on] = of(self.length) + new
        self.parent[on] = np.where(new, before, of(self.parent))
        self.hash[on] = np.where(new, mixed ^ (mixed >> _SHIFT), before)

    def end(self, moves: list[NDArray[np.int64]], nbest: int) -> list[list[Hypothesis]]:
        """The best prefixes, followed back to their beginning.

        Args:
            moves: What ``step`` gave in each frame.
            nbest: Most readings of an utterance.
        """
        acoustic = np.logaddexp(self.in_blank, self.in_phoneme)
        language = self.said + self.ends[self.state]
        score = acoustic + self.lm_weight * language + self.insertion_bonus * self.length
        slot = np.argsort(-score, axis=1, kind="stable")[:, :nbest]
        acoustic, language, score = (
            np.take_along_axis(own, slot, axis=1).tolist() for own in (acoustic, language, score)
        )
        added = np.zeros((len(moves), *slot.shape), np.int64)
        for frame, move in reversed(list(enumerate(moves))):
            on, outputs = slice(len(move)), self.gains.shape[1]
            slot[on], added[frame, on] = np.divmod(
                np.take_along_axis(move, slot[on], axis=1), outputs
            )
        return [
            [
                Hypothesis(tuple(own[own != BLANK].tolist()), *numbers)
                for own, *numbers in zip(added[:, row].T, *several, strict=True)
                if numbers[0] > _NEVER
            ]
            for row, several in enumerate(zip(score, acoustic, language, strict=True))
        ]


def _families(
    parents: NDArray[np.uint64], prefixes: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Which prefixes have their parent in the beam: utterance, place of the child, of the parent.

    Args:
        parents: Hash of each prefix's parent, shape (batch, beam).
        prefixes: Hash of each prefix, of which no two of an utterance are the same.
    """
    batch, beam = prefixes.shape
    # Sorted and looked up all at once, as a wide beam is too many to compare with one another.
    apart = np.arange(batch, dtype=np.uint64)[:, None] * _FACTOR
    hashes, wanted = (prefixes + apart).ravel(), (parents + apart).ravel()
    order = np.argsort(hashes)
    place = order[np.searchsorted(hashes, wanted, sorter=order).clip(max=len(order) - 1)]
    (child,) = (hashes[place] == wanted).nonzero()
    return child // beam, child % beam, place[child] % beam


def _best(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the greatest, ascending, shape (batch, count); of equal ones the first."""
    least = np.partition(scores, -count, axis=1)[:, -count, None]
    best = scores >= least
    if np.count_nonzero(best) > count * len(scores):
        above = scores > least
        equal = best & ~above
        free = count - np.count_nonzero(above, axis=1)[:, None]
        best = above | (equal & (np.cumsum(equal, axis=1) <= free))
    return best.nonzero()[1].reshape(-1, count)
