"""Calibration of the goodness of pronunciation, with phonemes of the text replaced on purpose.

A text is aligned twice: as it was read, and with every third phoneme replaced by another one, so
that the phonemes beside it are right. The goodness of these phonemes, right and replaced, is what a
logistic function is fitted on.

A replacement is drawn by how much the model confuses it with the phoneme, since errors of learners
are mostly near the phoneme (AE as EH), too. Replaced by just any phoneme, errors would be easier to
hear than those of a learner, and the scores of the latter too high.

Legend: T frames, P outputs with the blank first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.speakers import corpus_speakers
from phoneme_moe.decoding.goodness import GoodnessCalibration
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.viterbi import Spans, force_align, min_num_frames
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.split_outputs import SplitOutputs, infer_split
from phoneme_moe.models import shipped_name
from phoneme_moe.run_folder import LoadedRun, save_decoding
from phoneme_moe.transcription.align import require_utterances
from phoneme_moe.transcription.goodness import goodness_of_pronunciation
from phoneme_moe.transcription.run_engine import spec_of

EVERY = 3
"""One of so many phonemes is replaced; those beside it are right."""

MAX_REPLACED = 2000
"""About as many phonemes are replaced at most: a few seconds of a core for 40 phonemes."""

MIN_REPLACED = 20
"""With fewer, there is no calibration."""

ANY = 0.1
"""Share of replacements drawn from all phonemes alike, the others by how they are confused."""

Floats = NDArray[np.float64]


class Judged(NamedTuple):
    """Goodness of the same places, shape (phonemes,) each.

    Attributes:
        right: Of the phonemes of the text.
        replaced: Of the phonemes that replaced them.
    """

    right: Floats
    replaced: Floats


def calibrate_goodness(dev: SplitOutputs, seed: int = 0) -> GoodnessCalibration | None:
    """Fits the calibration on the dev split, by logistic regression with a ridge penalty.

    Args:
        dev: Model outputs for dev.
        seed: Seed of the replacements; no other random state is touched.

    Returns:
        The calibration; None if dev is too little for one, or goodness does not tell right phonemes
        from replaced ones: without several phonemes, or before the model has learnt anything.
    """
    judged = judge(dev, confusions(dev), seed)
    if len(judged.replaced) < MIN_REPLACED:
        return None
    goodness = np.concatenate(judged)
    was_spoken = np.repeat([True, False], [len(part) for part in judged])
    fit = LogisticRegression().fit(goodness[:, None], was_spoken)
    slope, intercept = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    return GoodnessCalibration(round(slope, 4), round(intercept, 4)) if slope > 0 else None


def calibrate_run(run: LoadedRun, corpus: PreparedCorpus | None = None) -> LoadedRun:
    """Calibrates a finished run and writes its ``decoding.json``; nothing else of it changes.

    Args:
        run: The run.
        corpus: The corpus with the dev split; that of the run by default.

    Returns:
        The same run with its calibration.

    Raises:
        InputError: The run classifies tokens, is a model of the package, or cannot be calibrated on
            the split.
    """
    require_utterances(spec_of(run))
    if shipped_name(run.folder) is not None:
        raise InputError(f"{run.name}: found a model of the package, expected a run folder")
    corpus = corpus or load_corpus(run.recipe.corpus.name)
    named = corpus.name == run.recipe.corpus.name
    speakers = corpus_speakers(run.recipe, corpus) if named else corpus.speakers
    goodness = calibrate_goodness(infer_split(run, corpus, "dev", speakers))
    if goodness is None:
        raise InputError(
            f"corpus {corpus.name}: goodness does not tell the phonemes of the dev split from "
            "replaced ones; expected several utterances of its phonemes, and a trained model"
        )
    run = replace(run, decoding=replace(run.decoding, goodness=goodness))
    run.recognizer.decoding = run.decoding
    save_decoding(run.folder, run.decoding)
    return run


def confusions(dev: SplitOutputs) -> Floats:
    """Probability that each phoneme is replaced by each other one, shape (outputs, outputs).

    Proportional to the mean posterior of the other one in the frames that emit the phoneme, but for
    the share ``ANY``.
    """
    num_outputs = dev.spec.phonemes.num_outputs
    sums = np.zeros((num_outputs, num_outputs))
    for log_posteriors, outputs in _sample(dev):
        for output, (first, end) in zip(outputs, _spans(log_posteriors, outputs), strict=True):
            sums[output] += np.exp(log_posteriors[first:end]).mean(axis=0)
    others = 1 - np.eye(num_outputs)
    others[:, BLANK] = 0
    anyone = others / np.maximum(others.sum(axis=1, keepdims=True), 1)
    sums *= others
    totals = sums.sum(axis=1, keepdims=True)
    confused = np.where(totals > 0, sums / np.where(totals > 0, totals, 1), anyone)
    mixed: Floats = ANY * anyone + (1 - ANY) * confused
    return mixed


def judge(
    split: SplitOutputs, replacements: Floats, seed: int = 0, max_replaced: int = MAX_REPLACED
) -> Judged:
    """Judges phonemes of a split, as they are and replaced.

    Args:
        split: Model outputs for the split.
        replacements: Probability of each replacement, shape (outputs, outputs), as of
            ``confusions``.
        seed: Seed of the replacements.
        max_replaced: About how many phonemes are replaced at most.
    """
    generator = np.random.default_rng(seed)
    right: list[float] = []
    replaced: list[float] = []
    sample = list(_sample(split, max_replaced)) if len(replacements) > 2 else []
    # Of little speech, the other phonemes are replaced afterwards.
    num_phonemes = sum(len(outputs) for _, outputs in sample)
    num_passes = min(EVERY, max(1, EVERY * max_replaced // max(1, num_phonemes)))
    for log_posteriors, outputs in sample:
        start = int(generator.integers(EVERY))
        for number in range(num_passes):
            places = range((start + number) % EVERY, len(outputs), EVERY)
            other = list(outputs)
            for place in places:
                row = replacements[outputs[place]]
                other[place] = int(generator.choice(len(replacements), p=row))
            if min_num_frames(other) <= len(log_posteriors):
                right += _goodness(log_posteriors, outputs, places)
                replaced += _goodness(log_posteriors, other, places)
    return Judged(*(_finite(np.array(part)) for part in (right, replaced)))


def _finite(goodness: Floats) -> Floats:
    """Without places where neither the phoneme nor any alternative is possible (-inf - -inf)."""
    found: Floats = goodness[np.isfinite(goodness)]
    return found


def _sample(
    split: SplitOutputs, max_replaced: int = MAX_REPLACED
) -> Iterator[tuple[NDArray[np.float32], list[int]]]:
    """Log posteriors, shape (frames, outputs), and phonemes of utterances, evenly spaced."""
    usable = [
        (output.log_posteriors[0], outputs)
        for example, output in zip(split.examples, split.model_outputs, strict=True)
        if (outputs := split.spec.phonemes.encode(example.phonemes))
        and min_num_frames(outputs) <= output.log_posteriors.shape[1]
    ]
    num_replaced = sum(-(-len(outputs) // EVERY) for _, outputs in usable)
    step = max(1.0, num_replaced / max_replaced)
    for index in np.arange(0, len(usable), step).astype(int):
        yield usable[index]


def _spans(log_posteriors: NDArray[np.float32], outputs: Sequence[int]) -> Spans:
    (spans,) = force_align(log_posteriors[None], [len(log_posteriors)], [outputs])
    return spans


def _goodness(
    log_posteriors: NDArray[np.float32], outputs: Sequence[int], places: Sequence[int]
) -> list[float]:
    spans = _spans(log_posteriors, outputs)
    return goodness_of_pronunciation(torch.from_numpy(log_posteriors), outputs, spans, places)[0]
