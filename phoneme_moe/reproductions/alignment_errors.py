"""How far an aligner's onsets are off: where times are exact, and by the voice's own onset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np

from phoneme_moe.corpora import SPLITS, PreparedCorpus, ensure_corpus
from phoneme_moe.reproductions.alignment import (
    Aligner,
    Times,
    aligned_corpus,
    exact_times,
    find_times,
)

CLASSES: Mapping[str, frozenset[str]] = {
    "stops": frozenset({"b", "d", "g", "p", "t", "k"}),
    "affricates": frozenset({"ch", "j", "ts"}),
    "fricatives": frozenset({"f", "h", "s", "sh", "z"}),
    "nasals": frozenset({"m", "n", "N"}),
    "approximants": frozenset({"r", "w", "y"}),
    "vowels": frozenset({"a", "e", "i", "o", "u"}),
}
"""The announcers' phonemes."""

VOICED_SECOND = frozenset({"two", "three", "four", "five", "six", "seven"})
"""Digits whose first phoneme is voiceless and whose second is voiced."""

SIMILAR_SIZE = 176
"""Of each announcer in a split at most: then he says as many words as a speaker of FSDD."""


def onset_errors(found: Times, exact: Times) -> dict[str, float]:
    """How far onsets are off, in milliseconds.

    Returns:
        ``median`` of the absolute error, ``within_20`` and ``within_40`` ms in per cent, ``shift``
        (the median of found less exact), and ``phonemes``, how many.
    """
    off = 1000 * np.array(
        [a[0] - b[0] for name in found for a, b in zip(found[name], exact[name], strict=True)]
    )
    return {
        "median": float(np.median(np.abs(off))),
        # A hair more than 20: times are multiples of a frame.
        "within_20": 100 * float((np.abs(off) <= 20.01).mean()),
        "within_40": 100 * float((np.abs(off) <= 40.01).mean()),
        "shift": float(np.median(off)),
        "phonemes": len(off),
    }


def alignment_errors(aligner: Aligner) -> dict[str, dict[str, float]]:
    """How far the onsets of an aligner are off, as ``onset_errors`` counts.

    Args:
        aligner: As for FSDD; nobody keeps the announcers company, whose phonemes are their own.

    Returns:
        ``announcers``, whose times are exact, overall and by class of phonemes; and ``fsdd
        voicing``: the onset of the second phoneme of six digits against the sound's own voicing
        (``voicing_onsets``). That two aligners of different seeds agree would say little: they
        can agree on the same wrong place.

    Raises:
        InputError: FSDD is not prepared, or the corpus that keeps it company.
    """
    announcers, digits = ensure_corpus("announcers"), ensure_corpus("fsdd")
    found = find_times(announcers, replace(aligner, company=None), SIMILAR_SIZE)
    exact = exact_times(announcers)
    errors = {"announcers": onset_errors(found, exact)}
    spoken = {cut.id: cut.supervisions[0].custom["phonemes"] for cut in _cuts(announcers)}
    for name, members in CLASSES.items():
        chosen = {id: [p in members for p in spoken[id]] for id in found}
        errors[f"announcers, {name}"] = onset_errors(
            {id: list(compress(found[id], chosen[id])) for id in found},
            {id: list(compress(exact[id], chosen[id])) for id in found},
        )
    found = exact_times(aligned_corpus("fsdd", aligner))
    voicing = {id: [(onset, onset)] for id, onset in voicing_onsets(digits).items()}
    errors["fsdd, voicing"] = onset_errors({id: [found[id][1]] for id in voicing}, voicing)
    return errors


def voicing_onsets(corpus: PreparedCorpus) -> dict[str, float]:
    """When the voice sets in, by utterance, of digits that begin voiceless; in seconds.

    The first time that the power between 150 and 900 Hz comes within 12 dB of its largest. It is
    no exact onset, but knows nothing of any aligner.
    """
    onsets = {}
    for cut in _cuts(corpus):
        if cut.supervisions[0].text not in VOICED_SECOND:
            continue
        rate = cut.sampling_rate
        window, hop = rate // 50, rate // 200  # 20 and 5 ms
        samples = np.pad(cut.load_audio()[0], window // 2)
        frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
        power = np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2
        frequency = np.fft.rfftfreq(window, 1 / rate)
        low = power[:, (frequency > 150) & (frequency < 900)].sum(axis=1)
        onsets[cut.id] = float(np.argmax(low > low.max() / 10**1.2) * hop / rate)
    return onsets


def _cuts(corpus: PreparedCorpus) -> Iterator[Any]:
    for split in SPLITS:
        yield from corpus.cuts(split)
