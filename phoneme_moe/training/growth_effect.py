"""What experts that were added for new speech change: errors, and the routing of both speeches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import paired_difference, score_utterance, total_score
from phoneme_moe.inference import recognize_split
from phoneme_moe.model.growth import AddedExpert, Change, Cluster, GrowthDocument
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.training.underserved import NewSpeech, measure_served, trigram_of


def measure_growth(
    run: LoadedRun,
    grown: Recognizer,
    speech: NewSpeech,
    new_test: Sequence[Example],
    old_test: Sequence[Example],
) -> GrowthDocument:
    """Measures what the added experts have changed.

    Args:
        run: The run before.
        grown: The model with the added experts, which gets the decoding settings of the run.
        speech: The speech for which they were added.
        new_test: Its test utterances.
        old_test: Those of the run's own corpus.
    """
    clusters = [
        Cluster(
            utterances=len(examples),
            speakers=dict(sorted(Counter(example.speaker for example in examples).items())),
        )
        for examples in speech.by_cluster()
    ]
    grown.decoding = run.decoding
    new_change, new_shares = _change(run, grown, speech.threshold, new_test)
    old_change, old_shares = _change(run, grown, speech.threshold, old_test)
    added = [
        AddedExpert(layer=layer, name=name, new=share, old=old_shares[layer, name])
        for (layer, name), share in new_shares.items()
        if name not in run.recognizer.routed_layer(layer)[1]
    ]
    return GrowthDocument(
        version=1,
        corpus=speech.corpus,
        threshold=speech.threshold,
        utterances=len(speech.train),
        badly_served=len(speech.badly_served),
        clusters=clusters,
        experts=added,
        new=new_change,
        old=old_change,
    )


Shares = dict[tuple[str | None, str], float]


def _change(
    run: LoadedRun, after: Recognizer, threshold: float, examples: Sequence[Example]
) -> tuple[Change, Shares]:
    """Errors before and after, and the share of each expert in the routing after."""
    sparse = [] if after.encoder is None else after.encoder.sparse_layers
    layers: list[str | None] = [layer.name for layer in sparse] or [None]
    sums: dict[str | None, NDArray[np.float64]] = {}
    scores, bad = [], []
    trigram = trigram_of(run)
    for recognizer in (run.recognizer, after):
        by_utterance = {}
        sums = {}
        with torch.no_grad():
            for utterance in recognize_split(recognizer, examples, layers=layers):
                example = utterance.example
                by_utterance[example.utterance] = score_utterance(
                    example.phonemes, utterance.hypothesis
                )
                for layer, weights in utterance.weights.items():
                    sums[layer] = sums.get(layer, 0.0) + weights.sum(axis=0, dtype=np.float64)
        scores.append([by_utterance[example.utterance] for example in examples])
        served = measure_served(recognizer, examples, trigram)
        bad.append(int(served.is_bad(threshold).sum()))
    shares = {
        (layer, name): float(share)
        for layer, total in sums.items()
        for name, share in zip(after.routed_layer(layer)[1], total / total.sum(), strict=True)
    }
    change = Change(
        utterances=len(examples),
        before=total_score(scores[0]).error_rate,
        after=total_score(scores[1]).error_rate,
        interval=list(paired_difference(*scores).interval),
        badly_served_before=bad[0],
        badly_served_after=bad[1],
    )
    return change, shares
