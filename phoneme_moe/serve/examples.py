"""Utterances of a run's corpus to try it with, when a person has none at hand."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from phoneme_moe.audio.waveform import Samples
from phoneme_moe.errors import InputError
from phoneme_moe.serve.documents import ExampleDocument, ExamplesDocument
from phoneme_moe.serve.served_runs import ServedRun

MOST = 24
"""Most examples of a run."""

SPLIT = "test"
"""Where they come from: the run was not trained on it."""

MAX_SECONDS = 20.0
"""Longest example."""


def examples(served: ServedRun) -> ExamplesDocument:
    """Utterances of the test split, of as many speakers as there is place for.

    Raises:
        InputError: The corpus is damaged.
    """
    if served.corpus is None:
        return ExamplesDocument(split=SPLIT, examples=[])
    by_speaker = defaultdict(list)
    for cut in served.corpus.iter_cuts(SPLIT):
        if cut.duration <= MAX_SECONDS:
            by_speaker[cut.supervisions[0].speaker].append(cut)
    speakers = sorted(by_speaker)
    chosen = speakers if len(speakers) <= MOST else speakers[:: -(-len(speakers) // MOST)]
    each = max(1, MOST // max(1, len(chosen)))
    found = []
    for speaker in chosen:
        cuts = by_speaker[speaker]
        for cut in cuts[:: max(1, len(cuts) // each)][:each]:
            supervision = cut.supervisions[0]
            phonemes = served.spec.phonemes.spell(supervision.custom["phonemes"])
            known = all(phoneme in served.spec.phonemes for phoneme in phonemes)
            found.append(
                ExampleDocument(
                    id=cut.id,
                    speaker=speaker,
                    text=supervision.text or "",
                    phonemes=" ".join(phonemes) if known and not served.spec.tokens else "",
                    seconds=round(cut.duration, 3),
                )
            )
    return ExamplesDocument(split=SPLIT, examples=found)


def example_recording(served: ServedRun, id: str) -> Samples:
    """The sound of an example.

    Raises:
        InputError: There is no such utterance.
    """
    if served.corpus is not None:
        for cut in served.corpus.iter_cuts(SPLIT):
            if cut.id == id:
                samples = np.asarray(cut.load_audio(), np.float32).mean(axis=0)
                return Samples(samples, cut.sampling_rate, id)
    raise InputError(f"example: {served.name} has no utterance {id[:80]!r}")
