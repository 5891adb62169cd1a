"""The settings that make transcription with a run good, found on dev.

The temperature of confidences, and how the phoneme n-gram counts in a beam search.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.examples import corpus_speakers
from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.evaluation.quality import BEAM, QUALITY, WIDE_BEAM, measure
from phoneme_moe.evaluation.split_outputs import (
    SplitOutputs,
    confidences_and_correct,
    decode_split,
    greedy_split,
    infer_split,
    score_split,
)
from phoneme_moe.files import write_json
from phoneme_moe.run_folder import LoadedRun, save_decoding

ORDER = 5
"""Of the phoneme n-gram."""

WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BONUSES = (-0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
"""What is tried on dev, one after the other and back."""


def calibrate(run: LoadedRun, corpus: PreparedCorpus | None = None) -> LoadedRun:
    """Finds a run's decoding on dev, measures on test, and leaves both in its folder.

    Args:
        run: Just trained.
        corpus: Its corpus, where that is loaded already.

    Returns:
        The same run with its decoding.
    """
    corpus = corpus or load_corpus(run.recipe.corpus.name)
    speakers = corpus_speakers(run.recipe, corpus)
    by_ngram = run.recipe.training.learns_with_ngram
    num_shifts = run.recognizer.stack if by_ngram else 1
    dev = infer_split(run, corpus, "dev", speakers, num_shifts)
    test = infer_split(run, corpus, "test", num_shifts=num_shifts)
    decoding = Decoding()
    tokens = run.recognizer.task.kind == "classify"
    if not tokens:
        cuts = corpus.cuts("train")
        said = [
            cut.supervisions[0].custom["phonemes"]
            for cut in cuts
            if cut.supervisions[0].speaker in speakers
        ]
        ngram = PhonemeNgram.estimate(said, run.recognizer.phonemes.symbols, ORDER)
        decoding = _weigh_ngram(run, dev, Decoding(language_model=ngram))
    decoding = replace(decoding, temperature=_temperature(run, dev))
    beam = run.recipe.task.beam
    if by_ngram:
        beam = beam or WIDE_BEAM
        decoding = replace(decoding, minimum_bayes_risk=True, num_shifts=num_shifts)
    decoding = replace(decoding, beam=beam)
    run = replace(run, decoding=decoding)
    run.recognizer.decoding = decoding
    save_decoding(run.folder, decoding)
    write_json(run.folder / QUALITY, measure(run, corpus, dev, test))
    return run


def _weigh_ngram(run: LoadedRun, dev: SplitOutputs, decoding: Decoding) -> Decoding:
    """Weight and bonus with the fewest errors on dev; the smaller weight where they are equal."""

    def errors(tried: Decoding) -> float:
        return score_split(run, dev, decode_split(run, dev, tried, BEAM)).error_rate

    best, least = decoding, errors(decoding)
    for _ in range(2):
        around = [replace(best, lm_weight=weight) for weight in WEIGHTS]
        for several in (around, None):
            for tried in several or [replace(best, insertion_bonus=bonus) for bonus in BONUSES]:
                if tried != best and (found := errors(tried)) < least:
                    best, least = tried, found
    return best


def _temperature(run: LoadedRun, dev: SplitOutputs) -> float:
    """At which confidences are likeliest (Guo et al. 2017)."""
    readings = greedy_split(run, dev)

    def surprise(temperature: float) -> float:
        sure, right = confidences_and_correct(run, dev, readings, temperature)
        kept = np.clip(np.where(right, sure, 1 - sure), 1e-6, 1)
        return float(-np.log(kept).mean()) if len(kept) else 0.0

    tried = np.geomspace(0.25, 8, 41)
    return round(float(min(tried, key=surprise)), 3)
