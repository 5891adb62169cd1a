"""CTC prefix beam search with a phoneme n-gram, many utterances and prefixes at once.

Graves 2012, section 7.5.3; Hannun et al. 2014, algorithm 1. All alignments of a reading are summed,
not only the best. The only loop is over frames.

Legend: B utterances, T frames, K prefixes kept, P outputs with the blank first, S phonemes (P - 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.speech.language_model import PhonemeNgram
from phoneme_moe.speech.phonemes import BLANK

_NEVER = -1e30
_MULTIPLIER, _ADDEND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
_NOBODY = np.uint64(1 << 63)


@dataclass(frozen=True)
class Hypothesis:
    """A reading of an utterance.

    Attributes:
        outputs: Output indices in order, without blanks.
        score: ``acoustic + weight * language + bonus * phonemes``.
        acoustic: Logarithm of its probability by the posteriors, summed over its alignments in the
            beam.
        language: Logarithm of its probability by the n-gram, the end included; 0 without one.
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
    weight: float = 0.0,
    bonus: float = 0.0,
    nbest: int = 1,
) -> list[list[Hypothesis]]:
    """The likeliest readings of each utterance.

    Args:
        log_posteriors: Natural logarithms, shape (batch, frames, outputs).
        num_frames: Real frames of each, shape (batch,).
        beam: Prefixes that are kept from frame to frame.
        language_model: N-gram over the outputs but the blank, in their order.
        weight: Power of its probabilities.
        bonus: Added to the score for each phoneme.
        nbest: Readings of each to give, at most; fewer where the beam has fewer.

    Returns:
        Of each utterance its readings, best first; at least one.
    """
    if language_model is None or weight == 0:
        language_model, weight = None, 0.0
    order = np.argsort(-np.asarray(num_frames), kind="stable")
    search = _Search(log_posteriors[order], beam, language_model, weight, bonus)
    lengths = np.asarray(num_frames)[order]
    for frame in range(int(lengths.max(initial=0))):
        search.step(frame, int(np.count_nonzero(lengths > frame)))
    found = search.readings(nbest)
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return [found[row] for row in back]


class _Search:
    """The prefixes of all utterances; those that have ended lie last and stay as they are."""

    def __init__(
        self,
        log_posteriors: NDArray[np.float32],
        beam: int,
        model: PhonemeNgram | None,
        weight: float,
        bonus: float,
    ) -> None:
        batch, frames, outputs = log_posteriors.shape
        self.said = log_posteriors.astype(np.float64)
        self.model, self.weight, self.bonus, self.beam = model, weight, bonus, beam
        self.symbols = np.arange(outputs - 1)
        shape = (batch, beam)
        self.in_blank = np.full(shape, _NEVER)
        self.in_blank[:, 0] = 0.0  # the empty prefix
        self.in_phoneme = np.full(shape, _NEVER)
        self.last = np.full(shape, -1)  # symbol, -1 of the empty prefix
        self.length = np.zeros(shape, np.int64)
        self.context = np.zeros(shape, np.int64)
        self.language = np.zeros(shape)
        # Which prefix this is, and which it was before its last phoneme.
        self.name = np.zeros(shape, np.uint64)
        self.name[:, 1:] = np.arange(1, beam, dtype=np.uint64) + _NOBODY  # none the same
        self.before = np.full(shape, _NOBODY, np.uint64)
        # The tree of prefixes: a node is made where a prefix is made.
        self.node = np.zeros(shape, np.int64)
        self.parents = np.zeros((frames + 1, *shape), np.int64)
        self.added = np.full((frames + 1, *shape), -1)

    def step(self, frame: int, active: int) -> None:
        """Goes on by a frame, with the first ``active`` utterances."""
        own = slice(active)
        said = self.said[own, frame]  # (B, P)
        blank, phonemes = said[:, None, BLANK], said[:, 1:]
        in_blank, in_phoneme, last = self.in_blank[own], self.in_phoneme[own], self.last[own]
        either = np.logaddexp(in_blank, in_phoneme)
        stay_blank = either + blank
        repeated = np.take_along_axis(phonemes, np.maximum(last, 0), axis=1)
        stay_phoneme = np.where(last >= 0, in_phoneme + repeated, _NEVER)
        # A phoneme after itself needs a blank between.
        extended = either[..., None] + phonemes[:, None]  # (B, K, S)
        rows, prefixes = np.nonzero(last >= 0)
        same = last[rows, prefixes]
        extended[rows, prefixes, same] = in_blank[rows, prefixes] + phonemes[rows, same]
        # A prefix in the beam that another one becomes: both are one.
        row, shorter, longer = np.nonzero(
            self.name[own][:, :, None] == self.before[own][:, None, :]
        )
        symbol = last[row, longer]
        met = extended[row, shorter, symbol]
        stay_phoneme[row, longer] = np.logaddexp(stay_phoneme[row, longer], met)
        extended[row, shorter, symbol] = _NEVER
        bonus, language = self.bonus, self.language[own]
        given = self.weight * language + bonus * self.length[own]
        stay = np.logaddexp(stay_blank, stay_phoneme) + given
        go = extended + (given + bonus)[..., None]
        coming = None
        if self.model is not None:
            coming = self.model.log_probabilities[self.context[own], :-1]  # (B, K, S)
            go = go + self.weight * coming
        kept = _best(np.concatenate([stay, go.reshape(active, -1)], axis=1), self.beam)
        goes = kept >= self.beam
        parent = np.where(goes, (kept - self.beam) // len(self.symbols), kept)
        added = np.where(goes, (kept - self.beam) % len(self.symbols), -1)
        self._keep(frame, own, parent, added, goes, stay_blank, stay_phoneme, extended, coming)

    def _keep(
        self,
        frame: int,
        own: slice,
        parent: NDArray[np.int64],
        added: NDArray[np.int64],
        goes: NDArray[np.bool_],
        stay_blank: NDArray[np.float64],
        stay_phoneme: NDArray[np.float64],
        extended: NDArray[np.float64],
        coming: NDArray[np.float32] | None,
    ) -> None:
        def of(values: NDArray) -> NDArray:  # type: ignore[type-arg]  # of any dtype
            return np.take_along_axis(values, parent, axis=1)

        row = np.arange(len(parent))[:, None]
        symbol = np.maximum(added, 0)
        said = extended[row, parent, symbol]
        self.in_blank[own] = np.where(goes, _NEVER, of(stay_blank))
        self.in_phoneme[own] = np.where(goes, said, of(stay_phoneme))
        name, context, node = of(self.name[own]), of(self.context[own]), of(self.node[own])
        if coming is not None and self.model is not None:
            language = of(self.language[own])
            self.language[own] = language + np.where(goes, coming[row, parent, symbol], 0.0)
            following = self.model.following(context, symbol)
            self.context[own] = np.where(goes, following, context)
        self.before[own] = np.where(goes, name, of(self.before[own]))
        further = name * _MULTIPLIER + (symbol.astype(np.uint64) + np.uint64(1)) * _ADDEND
        self.name[own] = np.where(goes, further ^ (further >> np.uint64(29)), name)
        # What is impossible fills a beam with room to spare; it must not pass for a real prefix.
        dead = np.maximum(self.in_blank[own], self.in_phoneme[own]) < _NEVER / 2
        self.before[own][dead] = _NOBODY
        here = (frame + 1) * self.beam + np.arange(self.beam)
        unique = np.broadcast_to(here.astype(np.uint64) + _NOBODY, dead.shape)
        self.name[own][dead] = unique[dead]
        self.length[own] = of(self.length[own]) + goes
        self.last[own] = np.where(goes, added, of(self.last[own]))
        self.parents[frame + 1, own] = node
        self.added[frame + 1, own] = added
        self.node[own] = np.where(goes, here, node)

    def readings(self, nbest: int) -> list[list[Hypothesis]]:
        """The best prefixes of each utterance."""
        acoustic = np.logaddexp(self.in_blank, self.in_phoneme)
        language = self.language
        if self.model is not None:
            language = language + self.model.log_probabilities[self.context, -1]
        score = acoustic + self.weight * language + self.bonus * self.length
        best = np.argsort(-score, axis=1, kind="stable")[:, :nbest]
        return [
            [
                Hypothesis(
                    self._outputs(row, k),
                    float(score[row, k]),
                    float(acoustic[row, k]),
                    float(language[row, k]),
                )
                for number, k in enumerate(best[row].tolist())
                if number == 0 or acoustic[row, k] > _NEVER / 2
            ]
            for row in range(len(best))
        ]

    def _outputs(self, row: int, prefix: int) -> tuple[int, ...]:
        found = []
        node = int(self.node[row, prefix])
        while node:
            frame, place = divmod(node, self.beam)
            found.append(int(self.added[frame, row, place]) + 1)
            node = int(self.parents[frame, row, place])
        return tuple(reversed(found))


def _best(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the greatest, shape (batch, count); in no order."""
    if scores.shape[1] <= count:
        return np.broadcast_to(np.arange(count), (len(scores), count))
    return np.argpartition(-scores, count - 1, axis=1)[:, :count]
