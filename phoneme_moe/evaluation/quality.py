"""What transcription with a run is worth: ``quality.json`` in its folder.

Measured on test and dev: phoneme error rate with and without the beam, calibration, and, where the
corpus has exact times, how far phonemes' starts and ends are off.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.decoding.scoring import align_phonemes
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.split_outputs import (
    SplitOutputs,
    confidences_and_correct,
    decode_split,
    greedy_split,
    score_split,
)
from phoneme_moe.features.audio import resample
from phoneme_moe.features.log_mel_numpy import FrontEnd
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.recording import Recording, record
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.transcribe import Options, transcribe_recordings

QUALITY = "quality.json"
"""In the run folder (docs/schemas/quality.schema.json)."""

BEAM = 16
"""Readings that the beam search of ``per_beam`` keeps, where the run has no beam of its own."""

WIDE_BEAM = 256
"""Of runs that were trained with an n-gram, which the best readings depend on more, if their recipe
does not say."""

BINS = 10
"""Of confidence, in its expected calibration error."""


def calibration_error(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Mean distance between confidence and share of right ones, in bins of equal width, 0..1.

    Naeini et al. 2015; weighted by how many fall into a bin.
    """
    if not len(sure):
        return 0.0
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    error = 0.0
    for number in range(BINS):
        own = bins == number
        if own.any():
            error += own.mean() * abs(sure[own].mean() - right[own].mean())
    return float(error)


def measure(
    run: LoadedRun, corpus: PreparedCorpus, dev: SplitOutputs, test: SplitOutputs
) -> dict[str, Any]:
    """The figures of ``quality.json``."""
    decoding = run.decoding
    kept = decoding.beam or BEAM
    found: dict[str, Any] = {"version": 1, "corpus": run.recipe.corpus.name, "beam": kept}
    tokens = run.recognizer.task.kind == "classify"
    for name, split in (("dev", dev), ("test", test)):
        readings = greedy_split(run, split)
        part: dict[str, Any] = {"utterances": len(split)}
        part["per"] = score_split(run, split, readings).error_rate
        if not tokens:
            beam = decode_split(run, split, decoding, kept)
            part["per_beam"] = score_split(run, split, beam).error_rate
        for key, temperature in (("raw", 1.0), ("calibrated", decoding.temperature)):
            sure, right = confidences_and_correct(run, split, readings, temperature)
            part[f"calibration_error_{key}"] = calibration_error(sure, right)
        part["times"] = time_errors(run, corpus, name, {e.speaker for e in split.examples})
        found[name] = part
    return found


def time_errors(
    run: LoadedRun, corpus: PreparedCorpus, split: str, speakers: Collection[str] | None = None
) -> dict[str, Any] | None:
    """How far starts and ends of rightly recognised phonemes are off, where times are exact.

    Args:
        run: The run.
        corpus: Its corpus.
        split: ``train``, ``dev`` or ``test``.
        speakers: Speakers to use; as ``split_speakers`` says when left out.

    Returns:
        As ``times`` in docs/schemas/quality.schema.json; None where there are no times to measure.
    """
    recognizer = run.recognizer
    if speakers is None:
        speakers = split_speakers(run.recipe, corpus)
    cuts = [
        cut
        for cut in corpus.cuts(split)
        if cut.supervisions[0].alignment and cut.supervisions[0].speaker in speakers
    ]
    unheard = recognizer.gate_is_speaker or recognizer.embedding_size is not None
    if recognizer.task.kind == "classify" or unheard or not cuts:
        return None
    engine = RunEngine(run)
    front_end = engine.spec.front_end()
    errors: list[tuple[float, float]] = []
    for first in range(0, len(cuts), 64):
        several = cuts[first : first + 64]
        recordings = [_record(cut, front_end) for cut in several]
        transcripts = transcribe_recordings(engine, recordings, Options())
        for cut, transcript in zip(several, transcripts, strict=True):
            truth = [
                (item.symbol, item.start, item.start + item.duration)
                for item in cut.supervisions[0].alignment["phoneme"]
            ]
            found = [(s.phoneme, s.start, s.end) for s in transcript.segments]
            errors += matched_errors(truth, found)
    if not errors:
        return None
    off = np.abs(np.array(errors)) * 1000
    return {"phonemes": len(off)} | {
        key: {
            "median_ms": float(np.median(off[:, column])),
            "within_20_ms": float((off[:, column] <= 20).mean()),
            "within_25_ms": float((off[:, column] <= 25).mean()),
        }
        for column, key in enumerate(("start", "end"))
    }


def _record(cut: Any, front_end: FrontEnd) -> Recording:
    samples = cut.load_audio()[0].astype(np.float32)
    waveform = resample(samples, cut.sampling_rate, front_end.sample_rate)
    return record(waveform, Path(cut.id), front_end)


def matched_errors(
    truth: Sequence[tuple[str, float, float]], found: Sequence[tuple[str, float, float]]
) -> list[tuple[float, float]]:
    """Start and end of each rightly recognised phoneme, less the true ones, in seconds."""
    pairs = align_phonemes([p for p, _, _ in truth], [p for p, _, _ in found])
    return [
        (found[h][1] - truth[r][1], found[h][2] - truth[r][2])
        for r, h in pairs
        if r is not None and h is not None and truth[r][0] == found[h][0]
    ]


def read_quality(run: LoadedRun) -> dict[str, Any] | None:
    """What ``quality.json`` says; None where there is none.

    Raises:
        InputError: It is not JSON.
    """
    path = run.folder / QUALITY
    if not path.is_file():
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON") from error
    return data
