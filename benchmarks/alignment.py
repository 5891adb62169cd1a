"""Onset errors of the forced aligner that cuts the tokens of real digits.

``python -m benchmarks.alignment``; needs FSDD and speechocean762, prepared. References are the
exact times of the synthetic announcers, and the onset of voicing in FSDD.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np

from benchmarks import page, results
from benchmarks.results import table
from phoneme_moe.corpora import SPLITS, PreparedCorpus, ensure_corpus
from phoneme_moe_reproductions.alignment import (
    Aligner,
    Times,
    align_corpus,
    aligned_corpus,
    corpus_times,
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
"""Utterances of each announcer per split: as many words as of a speaker of FSDD."""


def onset_errors(times: Times, reference: Times) -> dict[str, float]:
    """Errors of onsets in milliseconds.

    Returns:
        ``median`` of the absolute error, ``within_20`` and ``within_40`` ms in per cent, ``shift``
        (the median of the signed error), and ``phonemes``, how many.
    """
    off = 1000 * np.array(
        [a[0] - b[0] for name in times for a, b in zip(times[name], reference[name], strict=True)]
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
    """Onset errors of an aligner, as counted by ``onset_errors``.

    Args:
        aligner: As for FSDD; on the announcers, whose phonemes differ, it is trained without the
            second corpus.

    Returns:
        ``announcers``, whose times are exact, overall and by class of phonemes; and ``fsdd,
        voicing``: the onset of the second phoneme of six digits against the onset of voicing
        (``voicing_onsets``). Agreement of two aligners of different seeds would prove little:
        they can agree on the same wrong time.

    Raises:
        InputError: FSDD or the second corpus is not prepared.
    """
    announcers, digits = ensure_corpus("announcers"), ensure_corpus("fsdd")
    times = align_corpus(announcers, replace(aligner, company=None), SIMILAR_SIZE)
    exact = corpus_times(announcers)
    errors = {"announcers": onset_errors(times, exact)}
    phonemes = {cut.id: cut.supervisions[0].custom["phonemes"] for cut in _cuts(announcers)}
    for name, members in CLASSES.items():
        chosen = {id: [p in members for p in phonemes[id]] for id in times}
        errors[f"announcers, {name}"] = onset_errors(
            {id: list(compress(times[id], chosen[id])) for id in times},
            {id: list(compress(exact[id], chosen[id])) for id in times},
        )
    times = corpus_times(aligned_corpus("fsdd", aligner))
    voicing = {id: [(onset, onset)] for id, onset in voicing_onsets(digits).items()}
    errors["fsdd, voicing"] = onset_errors({id: [times[id][1]] for id in voicing}, voicing)
    return errors


def voicing_onsets(corpus: PreparedCorpus) -> dict[str, float]:
    """Onset of voicing in seconds, by utterance, of digits that begin voiceless.

    The first time that the power between 150 and 900 Hz is within 12 dB of its maximum: not an
    exact onset, but independent of any aligner.
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


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/benchmarks.md."""
    rows = [
        [
            name,
            f"{errors['phonemes']:,}",
            *(f"{errors[key]:.0f}" for key in ("median", "shift")),
            *(f"{errors[key]:.1f}" for key in ("within_20", "within_40")),
        ]
        for name, errors in figures.items()
    ]
    return (
        "## Onset errors of forced alignment\n\nTokens of the experiments on real digits are cut "
        "by "
        "a CTC model with label priors, trained on FSDD and additionally\non speechocean762 "
        "(`phoneme_moe_reproductions/alignment.py`; `python -m benchmarks.alignment`). On the "
        "announcers, whose\ntimes are exact, the same model is trained on their words. FSDD has no "
        "times: there the onset of the second phoneme of *two*\nto *seven* is compared with the "
        "rise of power between 150 and 900 Hz, which is independent of the model, but covers no "
        "other\nphonemes. Plots of *seven* look worst: V, AH and N are often squeezed together.\n\n"
        + table(
            [
                "onsets",
                "phonemes",
                "median error, ms",
                "shift, ms",
                "within 20 ms, %",
                "within 40 ms, %",
            ],
            rows,
        )
    )


def main() -> None:
    """Measures and writes."""
    results.keep("alignment", alignment_errors(Aligner(company="speechocean762")))
    page.write()


if __name__ == "__main__":
    main()
