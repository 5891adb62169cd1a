"""Calibration of pronunciation scores on test, and their agreement with human scores.

``python -m benchmarks.pronunciation``; needs the corpora of ``english``, prepared. With ``--human
scores.json`` (the file ``resource/scores.json`` of the published speechocean762), phonemes, words
and sentences of its test split are compared with the scores of its raters.
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr

from benchmarks import results
from benchmarks.results import table, with_section
from phoneme_moe.corpora import load_corpus
from phoneme_moe.data.speakers import corpus_speakers
from phoneme_moe.decoding.goodness import GoodnessCalibration
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.viterbi import force_align
from phoneme_moe.evaluation.goodness_calibration import Judged, confusions, judge
from phoneme_moe.evaluation.split_outputs import SplitOutputs, infer_split
from phoneme_moe.files.writing import write_text
from phoneme_moe.run_folder import load_run
from phoneme_moe.transcription.goodness import goodness_of_pronunciation

PAGE = Path(__file__).parents[1] / "docs" / "uses" / "pronunciation.md"
MODELS = ("english_whisper", "english")
CORPORA = {"learners": "speechocean762", "natives": "librispeech"}
MAX_REPLACED = 5000
NUM_BINS = 10


def calibration(function: GoodnessCalibration, judged: Judged) -> dict[str, Any]:
    """How well scores of right and replaced phonemes keep their promise.

    Returns:
        ``phonemes``, how many of each kind; ``error``, the expected calibration error in points
        over ten bins of equal width; ``below``: right phonemes with a score below 50, and
        ``found``: replaced ones, in per cent; ``bins``: mean score, percentage of right phonemes
        and number of phonemes.
    """
    right, replaced = (np.array([function.score(g) for g in goodness]) for goodness in judged)
    scores = np.concatenate([right, replaced])
    spoken = np.repeat([100.0, 0.0], [len(right), len(replaced)])
    number = np.minimum(scores // (100 / NUM_BINS), NUM_BINS - 1)
    bins = [
        [float(scores[chosen].mean()), float(spoken[chosen].mean()), int(chosen.sum())]
        for chosen in (number == k for k in np.unique(number))
    ]
    return {
        "phonemes": len(right),
        "error": sum(n * abs(score - share) for score, share, n in bins) / len(scores),
        "below": 100 * float((right < 50).mean()),
        "found": 100 * float((replaced < 50).mean()),
        "bins": bins,
    }


def measure(name: str, human: Path | None) -> dict[str, Any]:
    """Figures of a model of the package.

    Args:
        name: The model.
        human: The file of human scores, if there is one.
    """
    run = load_run(name)
    function = run.decoding.goodness
    assert function is not None
    corpus = load_corpus(run.recipe.corpus.name)
    likely = confusions(infer_split(run, corpus, "dev", corpus_speakers(run.recipe, corpus)))
    alike = 1 - np.eye(len(likely))
    alike[:, BLANK] = 0
    alike /= alike.sum(axis=1, keepdims=True)
    figures: dict[str, Any] = {}
    for who, corpus_name in CORPORA.items():
        test = infer_split(run, load_corpus(corpus_name), "test")
        for kind, replacements in (("near", likely), ("any", alike)):
            judged = judge(test, replacements, max_replaced=MAX_REPLACED)
            figures[f"{who}, {kind}"] = calibration(function, judged)
        if who == "learners" and human is not None:
            rated = json.loads(human.read_text(encoding="utf-8"))
            figures["human"] = agreement(function, test, rated)
    return figures


def agreement(
    function: GoodnessCalibration, test: SplitOutputs, human: dict[str, Any]
) -> dict[str, list[float]]:
    """Pearson's and Spearman's correlation with the accuracy that raters gave.

    Args:
        function: The calibration.
        test: Model outputs for the learners.
        human: Scores by utterance, as published.

    Returns:
        Both for ``phonemes``, ``words`` and ``sentences``.
    """
    pairs: dict[str, list[tuple[float, float]]] = {"phonemes": [], "words": [], "sentences": []}
    for example, output in zip(test.examples, test.model_outputs, strict=True):
        rated, outputs = human[example.utterance], test.spec.phonemes.encode(example.phonemes)
        log_posteriors = output.log_posteriors
        (spans,) = force_align(log_posteriors, [log_posteriors.shape[1]], [outputs])
        goodness, _ = goodness_of_pronunciation(torch.from_numpy(log_posteriors[0]), outputs, spans)
        scores = iter(map(function.score, goodness))
        means = []
        for word in rated["words"]:
            of_word = list(islice(scores, len(word["phones-accuracy"])))
            pairs["phonemes"] += zip(of_word, word["phones-accuracy"], strict=True)
            pairs["words"].append((fmean(of_word), word["accuracy"]))
            means += of_word
        assert next(scores, None) is None, example.utterance
        pairs["sentences"].append((fmean(means), rated["accuracy"]))
    return {
        level: [float(f(*zip(*both, strict=True)).statistic) for f in (pearsonr, spearmanr)]
        for level, both in pairs.items()
    }


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/uses/pronunciation.md."""
    kinds = [f"{who}, {kind}" for who in CORPORA for kind in ("near", "any")]
    summary = [
        [
            f"`{name}`, {kind}",
            f"{of_model[kind]['phonemes']:,}",
            *(f"{of_model[kind][key]:.1f}" for key in ("error", "below", "found")),
        ]
        for name, of_model in figures.items()
        for kind in kinds
    ]
    bins = [
        [f"`{name}`, {who}", *(f"{share:.0f}" for _, share, _ in of_model[f"{who}, near"]["bins"])]
        for name, of_model in figures.items()
        for who in CORPORA
    ]
    head = ["speech of test, replacements", "replaced", "calibration error, points"]
    text = table([*head, "right ones below 50, %", "replaced ones below 50, %"], summary)
    ranges = [f"{10 * k}-{10 * k + 10}" for k in range(NUM_BINS)]
    text += "\nPhonemes of the text, per cent of those with a score of\n\n"
    text += table(["near replacements", *ranges], bins)
    rated = [
        [f"`{name}`, {level}", *(f"{value:.2f}" for value in values)]
        for name, of_model in figures.items()
        for level, values in of_model.get("human", {}).items()
    ]
    if rated:
        text += "\nAgreement with the accuracy that raters gave to the learners\n\n"
        text += table(["", "Pearson", "Spearman"], rated)
    return text


def text() -> str:
    """The page with its section from the kept figures."""
    return with_section(PAGE, "calibration", section(results.read("pronunciation")))


def main() -> None:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--human", type=Path, help="resource/scores.json of speechocean762")
    human = parser.parse_args().human
    results.keep("pronunciation", {name: measure(name, human) for name in MODELS})
    write_text(PAGE, text())


if __name__ == "__main__":
    main()
