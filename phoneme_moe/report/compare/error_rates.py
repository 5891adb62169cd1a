"""Error rates of two runs on the same utterances, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import (
    UtteranceScore,
    paired_difference,
    score_utterance,
    total_score,
)
from phoneme_moe.report.compare.differences import controlled
from phoneme_moe.report.compare.document import (
    CorpusErrorRates,
    SpeakerErrorRates,
    SplitErrorRates,
)
from phoneme_moe.report.compare.matching import Counts

if TYPE_CHECKING:
    from phoneme_moe.report.compare.run import RunOutputs


def error_rates(
    a: RunOutputs,
    b: RunOutputs,
    examples: Sequence[Example],
    speakers: Sequence[str],
    speaker: Counts,
    corpora: Sequence[str] = (),
) -> SplitErrorRates:
    """Error rates of all speakers and of each, with their differences.

    Args:
        a: The first run with its outputs for the examples.
        b: The second run, with the same phonemes.
        examples: The examples.
        speakers: Names of the speakers.
        speaker: Index of the speaker of each example, shape (examples,).
        corpora: Names of the corpora, if there are several; utterances begin with them.
    """
    scores = [
        [score_utterance(e.phonemes, run.hypotheses[e.utterance]) for e in examples]
        for run in (a, b)
    ]
    rates = [_rates_of(scores, np.flatnonzero(speaker == index)) for index in range(len(speakers))]
    corpus_of = np.array([example.utterance.partition("/")[0] for example in examples])
    rows_of = {name: np.flatnonzero(corpus_of == name) for name in corpora}
    tests = controlled([one["p"] for one in rates])
    return SplitErrorRates(
        measure="per" if a.kind == "recognize" else "token_error_rate",
        fold=f"none ({len(a.phonemes)} phonemes)",
        **_paired_rates(*scores),
        identical=sum(a.hypotheses[e.utterance] == b.hypotheses[e.utterance] for e in examples),
        by_speaker=[
            SpeakerErrorRates(speaker=name, **one, **test)
            for name, one, test in zip(speakers, rates, tests, strict=True)
        ],
        by_corpus=[
            CorpusErrorRates(corpus=name, **_rates_of(scores, rows))
            for name, rows in rows_of.items()
            if len(rows)
        ],
    )


def _rates_of(scores: Sequence[Sequence[UtteranceScore]], rows: Counts) -> dict[str, Any]:
    """Fields of ``ErrorRates`` for some of the utterances."""
    return _paired_rates(*([of_run[i] for i in rows] for of_run in scores))


def _paired_rates(a: list[UtteranceScore], b: list[UtteranceScore]) -> dict[str, Any]:
    """Fields of ``ErrorRates``."""
    score_a, score_b, difference = total_score(a), total_score(b), paired_difference(a, b)
    more = np.array([after.errors - before.errors for before, after in zip(a, b, strict=True)])
    return {
        "utterances": len(a),
        "phonemes": score_a.num_reference,
        "a": score_a.error_rate,
        "interval_a": score_a.interval,
        "b": score_b.error_rate,
        "interval_b": score_b.interval,
        "difference": difference.difference,
        "interval": difference.interval,
        "p": difference.p,
        "better": int((more < 0).sum()),
        "worse": int((more > 0).sum()),
        "same": int((more == 0).sum()),
    }
