"""CTC prefix beam search with a phoneme n-gram, vectorised over utterances and prefixes.

Graves 2012, section 7.5.3; Hannun et al. 2014, algorithm 1: the score of a prefix sums over all of
its alignments. The only loop is over frames. Prefixes are identified by a 64-bit hash of their
phonemes.

Legend: B utterances, K prefixes in the beam, T frames, P outputs with the blank first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.phonemes import BLANK

_IMPOSSIBLE = -np.inf
_UNUSED, _NO_PARENT, _EMPTY = np.arange(3, dtype=np.uint64)  # reserved hashes
_FACTOR, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)


@dataclass(frozen=True)
class Hypothesis:
    """A decoded phoneme sequence.

    Attributes:
        outputs: Output indices in order, without blanks.
        score: ``acoustic + lm_weight * language + insertion_bonus * len(outputs)``.
        acoustic: Log probability from the posteriors, summed over the alignments within the beam.
        language: Log probability from the n-gram, including the end; 0 without an n-gram.
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
    """Finds the n-best hypotheses of each utterance; exact if the beam holds all prefixes.

    Ties are resolved by the order of parents, then of outputs, so results do not depend on the
    machine or the batch.

    Args:
        log_posteriors: Log posteriors, shape (batch, frames, outputs).
        num_frames: Real frames of each utterance, shape (batch,).
        beam: Beam width, 1 or more.
        language_model: N-gram over the outputs without the blank, in their order.
        lm_weight: Factor on log probabilities of the n-gram, 0 or more.
        insertion_bonus: Added to the score for each phoneme.
        nbest: Maximum number of hypotheses of an utterance, 1 or more.

    Returns:
        The distinct hypotheses of each utterance, best first.
    """
    # Longest first, so that the unfinished utterances are the first rows; padding is never read.
    order = np.argsort(-num_frames, kind="stable")
    lengths = num_frames[order]
    search = _Search(
        log_posteriors.shape[2], len(order), beam, language_model, lm_weight, insertion_bonus
    )
    num_frames_max = int(lengths.max(initial=0))
    running = [int(np.count_nonzero(lengths > frame)) for frame in range(num_frames_max)]
    moves = [
        search.step(log_posteriors[order[:rows], frame].astype(np.float64))
        for frame, rows in enumerate(running)
    ]
    hypotheses = search.end(moves, nbest)
    return [hypotheses[row] for row in np.argsort(order)]


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
        # The tables of an n-gram are large: only rows of states in the beam are ever converted.
        self.log_probabilities = (
            np.zeros((1, outputs), np.float32) if model is None else model.log_probabilities
        )
        self.next_states = (
            np.zeros((1, outputs - 1), np.int64) if model is None else model.next_states
        )
        self.outputs = outputs
        self.lm_weight, self.insertion_bonus = lm_weight, insertion_bonus
        shape = (batch, beam)
        self.in_blank = np.full(
            shape, _IMPOSSIBLE
        )  # log probability of alignments that end in blank
        self.in_phoneme = np.full(shape, _IMPOSSIBLE)
        self.last = np.full(shape, BLANK)
        self.length = np.zeros(shape, np.int64)
        self.state = np.full(shape, 0 if model is None else model.start_state)
        self.language_scores = np.zeros(shape)
        self.hash = np.full(shape, _UNUSED)
        self.parent = np.full(shape, _NO_PARENT)  # hash of the prefix without its last phoneme
        # The search starts from the empty prefix.
        self.in_blank[:, 0], self.hash[:, 0] = 0.0, _EMPTY

    def step(self, frame: NDArray[np.float64]) -> NDArray[np.int64]:
        """Extends the prefixes of the first B utterances by one frame.

        Args:
            frame: Log posteriors, shape (B, P).

        Returns:
            Slot of the parent times P, plus the added output (blank for none), of each new prefix;
            shape (B, K).
        """
        rows, outputs = frame.shape
        on = slice(rows)
        in_blank, in_phoneme, last = self.in_blank[on], self.in_phoneme[on], self.last[on]
        all_rows, slots = np.arange(rows)[:, None], np.arange(last.shape[1])
        either = np.logaddexp(in_blank, in_phoneme)
        # Score of each prefix extended by each output; the blank column is the unchanged prefix.
        with_output = either[:, :, None] + frame[:, None, :]  # (B, K, P)
        stays_in_blank = with_output[:, :, BLANK].copy()
        repeated = np.take_along_axis(frame, last, axis=1)
        stays_in_phoneme = in_phoneme + repeated
        # A repeated phoneme needs a blank in between.
        with_output[all_rows, slots, last] = in_blank + repeated
        # Extensions that equal another prefix in the beam are merged into it.
        row, child, parent = _families(self.parent[on], self.hash[on])
        merged = (row, parent, last[row, child])
        stays_in_phoneme[row, child] = np.logaddexp(
            stays_in_phoneme[row, child], with_output[merged]
        )
        with_output[merged] = _IMPOSSIBLE
        with_output[:, :, BLANK] = np.logaddexp(stays_in_blank, stays_in_phoneme)
        scores = with_output.copy()
        # The blank, the first output, has no part in the n-gram, whose last column is the end.
        following = self.log_probabilities[self.state[on], :-1].astype(np.float64)
        scores[:, :, BLANK + 1 :] += self.lm_weight * following + self.insertion_bonus
        scores += (
            self.lm_weight * self.language_scores[on] + self.insertion_bonus * self.length[on]
        )[:, :, None]
        move = _best(scores.reshape(rows, -1), last.shape[1])
        source, output = np.divmod(move, outputs)
        self._keep(source, output)
        new = output != BLANK
        self.in_blank[on] = np.where(new, _IMPOSSIBLE, stays_in_blank[all_rows, source])
        extended = with_output[all_rows, source, output]
        self.in_phoneme[on] = np.where(new, extended, stays_in_phoneme[all_rows, source])
        # There may be fewer prefixes than slots; unused slots are impossible.
        unused = (extended == _IMPOSSIBLE).nonzero()
        self.hash[unused], self.parent[unused] = _UNUSED, _NO_PARENT
        return move

    def _keep(self, source: NDArray[np.int64], output: NDArray[np.int64]) -> None:
        """Keeps the best extensions as the new prefixes."""
        on = slice(len(source))

        def of_parent(values: NDArray[Any]) -> NDArray[Any]:
            return np.take_along_axis(values[on], source, axis=1)

        new = output != BLANK
        state, before = of_parent(self.state), of_parent(self.hash)
        mixed = (before + output.astype(np.uint64)) * _FACTOR
        added = np.where(new, self.log_probabilities[state, output - 1], np.float32(0.0))
        self.language_scores[on] = of_parent(self.language_scores) + added
        self.state[on] = np.where(new, self.next_states[state, output - 1], state)
        self.last[on] = np.where(new, output, of_parent(self.last))
        self.length[on] = of_parent(self.length) + new
        self.parent[on] = np.where(new, before, of_parent(self.parent))
        self.hash[on] = np.where(new, mixed ^ (mixed >> _SHIFT), before)

    def end(self, moves: list[NDArray[np.int64]], nbest: int) -> list[list[Hypothesis]]:
        """Traces the best prefixes back and returns the hypotheses.

        Args:
            moves: Output of ``step`` for each frame.
            nbest: Maximum number of hypotheses of an utterance.
        """
        acoustic = np.logaddexp(self.in_blank, self.in_phoneme)
        language = self.language_scores + self.log_probabilities[self.state, -1].astype(np.float64)
        score = acoustic + self.lm_weight * language + self.insertion_bonus * self.length
        slot = np.argsort(-score, axis=1, kind="stable")[:, :nbest]
        acoustic, language, score = (
            np.take_along_axis(scores, slot, axis=1).tolist()
            for scores in (acoustic, language, score)
        )
        added = np.zeros((len(moves), *slot.shape), np.int64)
        for frame, move in reversed(list(enumerate(moves))):
            on, outputs = slice(len(move)), self.outputs
            slot[on], added[frame, on] = np.divmod(
                np.take_along_axis(move, slot[on], axis=1), outputs
            )
        return [
            [
                Hypothesis(tuple(outputs[outputs != BLANK].tolist()), *values)
                for outputs, *values in zip(added[:, row].T, *scores, strict=True)
                if values[0] > _IMPOSSIBLE
            ]
            for row, scores in enumerate(zip(score, acoustic, language, strict=True))
        ]


def _families(
    parents: NDArray[np.uint64], prefixes: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Finds pairs of a prefix and its parent in the same beam: utterance, child slot, parent slot.

    Args:
        parents: Hash of each prefix's parent, shape (batch, beam).
        prefixes: Hash of each prefix; distinct within an utterance.
    """
    batch, beam = prefixes.shape
    # Sort and search, since comparing all pairs in a wide beam would take too long.
    apart = np.arange(batch, dtype=np.uint64)[:, None] * _FACTOR
    hashes, wanted = (prefixes + apart).ravel(), (parents + apart).ravel()
    order = np.argsort(hashes)
    place = order[np.searchsorted(hashes, wanted, sorter=order).clip(max=len(order) - 1)]
    (child,) = (hashes[place] == wanted).nonzero()
    return child // beam, child % beam, place[child] % beam


def _best(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` greatest, ascending, shape (batch, count); the first of ties."""
    least = np.partition(scores, -count, axis=1)[:, -count, None]
    best = scores >= least
    if np.count_nonzero(best) > count * len(scores):
        above = scores > least
        equal = best & ~above
        free = count - np.count_nonzero(above, axis=1)[:, None]
        best = above | (equal & (np.cumsum(equal, axis=1) <= free))
    return best.nonzero()[1].reshape(-1, count)
