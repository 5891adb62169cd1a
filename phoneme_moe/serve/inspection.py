"""One recording looked at closely: transcript, weights of every frame, changes and errors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from phoneme_moe.audio.waveform import Samples
from phoneme_moe.corpora.lexicon import Lexicon
from phoneme_moe.decoding.scoring import align_phonemes, score_utterance
from phoneme_moe.errors import InputError
from phoneme_moe.serve.documents import (
    ChangeDocument,
    ComparisonDocument,
    InspectionDocument,
    ReferenceDocument,
)
from phoneme_moe.serve.served_runs import LayerChange, ServedRun
from phoneme_moe.transcription.goodness import log_likelihoods
from phoneme_moe.transcription.model_spec import Floats, ModelSpec
from phoneme_moe.transcription.recording import read_recording
from phoneme_moe.transcription.single_token import transcribe_token
from phoneme_moe.transcription.transcribe import Options, recognize_recordings
from phoneme_moe.transcription.transcript import Transcript
from phoneme_moe.transcription.writers.documents import TranscriptDocument, to_dict

DECIMALS = 3
"""Decimals of weights: a tenth of a per cent."""


@dataclass(frozen=True)
class View:
    """What to look at.

    Attributes:
        layer: Sparse layer whose weights are shown; the last one by default.
        changes: Changes to the routing.
        beam: Beam width, as in ``transcription.transcribe.Options``.
        best: Whether to use the slow search with the fewest errors.
        compare: Phonemes of another transcript, separated by spaces.
        reference: What was spoken: phonemes, or words of the lexicon; empty if unknown.
    """

    layer: str | None = None
    changes: tuple[LayerChange, ...] = ()
    beam: int | None = None
    best: bool = False
    compare: str = ""
    reference: str = ""


def inspect_recording(
    served: ServedRun, recording: Samples, view: View, lexicon: Lexicon | None = None
) -> InspectionDocument:
    """Recognises a recording and shows what led to the result.

    Args:
        served: The run.
        recording: The recording.
        view: What to look at.
        lexicon: Pronunciations, for a reference of words.

    Raises:
        InputError: The recording cannot be used, or a part of the view does not fit the run.
    """
    began = time.perf_counter()
    engine = served.engine(view.changes, view.layer, view.best)
    spec = engine.spec
    given = spoken_phonemes(view.reference, spec, lexicon) if view.reference.strip() else None
    log_posteriors: Floats | None = None
    if spec.tokens:
        transcript = transcribe_token(engine, recording)
        weights = np.array([list(transcript.routing.values())])
        frame_seconds = transcript.duration
    else:
        loaded = read_recording(recording, spec.front_end())
        ((transcript, output),) = recognize_recordings(engine, [loaded], Options(beam=view.beam))
        weights = output.weights[0]
        frame_seconds = spec.feature_seconds * spec.stack
        log_posteriors = None if loaded.is_silent else output.log_posteriors[0]
    phonemes = transcript.phonemes
    before = tuple(view.compare.split())
    document = TranscriptDocument(**to_dict(transcript))
    return InspectionDocument(
        transcript=document,
        layer=engine.layer or "",
        experts=list(spec.experts),
        frame_seconds=frame_seconds,
        weights=[] if len(spec.experts) == 1 else weights.astype(float).round(DECIMALS).tolist(),
        routing=document.routing,
        log_probability=_log_probability(log_posteriors, phonemes, spec),
        comparison=None
        if not before
        else ComparisonDocument(
            changes=changes_between(before, phonemes),
            log_probability=_log_probability(log_posteriors, before, spec),
        ),
        reference=None if given is None else _against(given, transcript),
        seconds=round(time.perf_counter() - began, 4),
    )


def spoken_phonemes(text: str, spec: ModelSpec, lexicon: Lexicon | None) -> tuple[str, ...]:
    """The phonemes of a text: itself if all its parts are phonemes, else those of its words.

    A word has the first of its pronunciations.

    Raises:
        InputError: A part is neither a phoneme nor a word of the lexicon.
    """
    parts = text.split()
    unknown = [part for part in parts if part not in spec.phonemes.symbols]
    if not unknown:
        return tuple(parts)
    if lexicon is None:
        raise InputError(
            f"{unknown[0]!r} is not a phoneme of {spec.source}, and the server was started "
            "without a dictionary for words"
        )
    words = lexicon.spoken_words(text)
    missing = [word.word for word in words if not word.pronunciations]
    if missing:
        raise InputError(f"{missing[0]!r} is not in the lexicon")
    phonemes = tuple(p for word in words for p in word.pronunciations[0])
    return tuple(spec.phonemes.spell(phonemes))


def changes_between(before: Sequence[str], after: Sequence[str]) -> list[ChangeDocument]:
    """The alignment of two sequences of phonemes with the fewest differences."""
    changes = []
    for b, a in align_phonemes(before, after):
        old, new = "" if b is None else before[b], "" if a is None else after[a]
        changes.append(ChangeDocument(kind=_kind(old, new), before=old, after=new, segment=a))
    return changes


def _kind(old: str, new: str) -> Literal["same", "substituted", "inserted", "deleted"]:
    if old == new:
        return "same"
    return "deleted" if not new else "substituted" if old else "inserted"


def _against(reference: tuple[str, ...], transcript: Transcript) -> ReferenceDocument:
    score = score_utterance(reference, transcript.phonemes)
    return ReferenceDocument(
        phonemes=list(reference),
        errors=score.errors,
        error_rate=score.errors / len(reference),
        changes=changes_between(reference, transcript.phonemes),
    )


def _log_probability(
    log_posteriors: Floats | None, phonemes: Sequence[str], spec: ModelSpec
) -> float | None:
    """Natural logarithm of the probability of phonemes, summed over all alignments (CTC)."""
    if log_posteriors is None:
        return None
    sequence = spec.phonemes.encode(phonemes)
    value = float(log_likelihoods(torch.from_numpy(log_posteriors), [sequence])[0])
    return round(value, 3) if np.isfinite(value) else None
