"""Tuning of decoding settings on dev: n-gram weight, insertion bonus, temperature, scores."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.speakers import corpus_speakers
from phoneme_moe.data.utterances import iter_split_cuts
from phoneme_moe.decoding.decoder import BestSearch, Decoding
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.evaluation.goodness_calibration import calibrate_goodness
from phoneme_moe.evaluation.language_model import estimate_ngram, interpolate_text, read_text
from phoneme_moe.evaluation.quality import BEAM, measure_quality
from phoneme_moe.evaluation.split_outputs import SplitOutputs, infer_split
from phoneme_moe.run_folder import LoadedRun, save_decoding

LM_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
INSERTION_BONUSES = (-0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
"""Candidate values of the coordinate search on dev."""

WIDE_BEAM = 256
"""Beam width of the best search of runs trained with an n-gram."""

FAST_BEAMS = (8, 16, 32, 64, 128)
"""Candidates for the default beam of these runs, in a single pass."""

MAX_LOSS = 0.03
"""Largest share of errors on dev that the default beam may add to those of the best search: an
accurate model is decoded with a wider beam."""


AnyRun = TypeVar("AnyRun", bound=LoadedRun)


def calibrate(run: AnyRun, corpus: PreparedCorpus | None = None) -> AnyRun:
    """Tunes the decoding settings of a run on dev and measures its quality on dev and test.

    Writes ``quality.json`` and ``decoding.json`` into the run folder, which finishes the run.

    Args:
        run: The trained run.
        corpus: Its corpus, if already loaded.

    Returns:
        The same run with its decoding settings.
    """
    corpus = corpus or load_corpus(run.recipe.corpus.name)
    speakers = corpus_speakers(run.recipe, corpus)
    trained_with_ngram = run.recipe.training.learns_with_ngram
    num_shifts = run.recognizer.stack if trained_with_ngram else 1
    dev = infer_split(run, corpus, "dev", speakers, num_shifts)
    test = infer_split(run, corpus, "test", num_shifts=num_shifts)
    decoding = Decoding()
    if run.recognizer.task.kind != "classify":
        language_model = _language_model(run, corpus, speakers)
        decoding = _weigh_ngram(dev, Decoding(language_model=language_model))
        decoding = replace(decoding, goodness=calibrate_goodness(dev))
    decoding = replace(decoding, temperature=_calibrate_temperature(dev))
    decoding = replace(decoding, beam=run.recipe.task.beam)
    if trained_with_ngram:
        best = BestSearch(WIDE_BEAM, minimum_bayes_risk=True, num_shifts=num_shifts)
        decoding = replace(decoding, minimum_bayes_risk=True, best=best)
        if decoding.beam is None:
            decoding = replace(decoding, beam=_choose_fast_beam(dev, decoding))
    run = replace(run, decoding=decoding)
    run.recognizer.decoding = decoding
    measure_quality(run, corpus, dev, test).save(run.folder)
    save_decoding(run.folder, decoding)  # last, since it says that the run is finished
    return run


def _language_model(
    run: LoadedRun, corpus: PreparedCorpus, speakers: Sequence[str]
) -> PhonemeNgram:
    """The n-gram of the training utterances, with that of text if the recipe has some."""

    def references(split: str) -> list[Sequence[str]]:
        return [
            # Strings of a file are objects of their own, which take ten times the memory.
            [sys.intern(phoneme) for phoneme in cut.supervisions[0].custom["phonemes"]]
            for cut in iter_split_cuts(run.recipe, corpus, split, speakers)
        ]

    phonemes, section = run.recognizer.phonemes, run.recipe.task.language_model
    ngram = estimate_ngram(references("train"), phonemes.symbols)
    if section is None:
        return ngram
    dev = [phonemes.spell(reference) for reference in references("dev")]
    return interpolate_text(ngram, read_text(section, phonemes), dev)


def _weigh_ngram(dev: SplitOutputs, decoding: Decoding) -> Decoding:
    """Weight and bonus with the fewest errors on dev, by coordinate search.

    Ties are broken in favour of the current setting, then of the first candidate.
    """

    @functools.cache
    def error_rate(weight: float, bonus: float) -> float:
        candidate = replace(decoding, lm_weight=weight, insertion_bonus=bonus)
        return dev.error_rate(dev.decode(candidate, BEAM))

    weight, bonus = decoding.lm_weight, decoding.insertion_bonus
    for _ in range(2):
        weight = min((weight, *LM_WEIGHTS), key=lambda w: error_rate(w, bonus))
        bonus = min((bonus, *INSERTION_BONUSES), key=lambda b: error_rate(weight, b))
    return replace(decoding, lm_weight=weight, insertion_bonus=bonus)


def _choose_fast_beam(dev: SplitOutputs, decoding: Decoding) -> int:
    """The narrowest beam that is about as good on dev as the best search; else the widest."""
    tolerated = dev.error_rate(dev.decode(decoding.with_best())) * (1 + MAX_LOSS)
    for beam in FAST_BEAMS[:-1]:
        if dev.error_rate(dev.decode(decoding, beam)) <= tolerated:
            return beam
    return FAST_BEAMS[-1]


def _calibrate_temperature(dev: SplitOutputs) -> float:
    """The temperature that minimises the cross-entropy of confidences (Guo et al. 2017)."""
    hypotheses = dev.decode_greedily()

    def cross_entropy(temperature: float) -> float:
        confidences, correct = dev.confidences(hypotheses, temperature)
        likelihoods = np.clip(np.where(correct, confidences, 1 - confidences), 1e-6, 1)
        return float(-np.log(likelihoods).mean()) if len(likelihoods) else 0.0

    return round(float(min(np.geomspace(0.25, 8, 41), key=cross_entropy)), 3)
