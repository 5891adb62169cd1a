"""Quality of a run's transcripts: ``quality.json`` in its folder.

Measured on dev and test: phoneme error rate of greedy decoding and of beam search, calibration, and
errors of phoneme times if the corpus has exact ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.cut_audio import load_cut
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.data.utterances import split_cuts
from phoneme_moe.decoding.scoring import align_phonemes
from phoneme_moe.evaluation.split_outputs import SplitOutputs
from phoneme_moe.features.log_mel_numpy import FrontEnd
from phoneme_moe.files.documents import Document
from phoneme_moe.files.writing import write_json
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.recording import Recording, record
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.transcribe import Options, transcribe_recordings

QUALITY = "quality.json"

BEAM = 16
"""Beam width of ``per_beam`` for runs that decode greedily by default."""

CALIBRATION_BINS = 10


class EdgeErrors(Document):
    """Errors of the starts or ends of phonemes."""

    median_ms: float = Field(ge=0)
    within_20_ms: float = Field(
        ge=0, le=1, description="Fraction of phonemes with an error of at most 20 ms."
    )
    within_25_ms: float = Field(ge=0, le=1)


class TimeErrors(Document):
    """Errors of the times of correctly recognised phonemes."""

    phonemes: int = Field(ge=1)
    start: EdgeErrors
    end: EdgeErrors


class SplitQuality(Document):
    """Quality on one split."""

    utterances: int = Field(ge=1)
    per: float = Field(
        ge=0,
        description="Phoneme error rate of greedy decoding: errors over reference phonemes (over "
        "tokens for a classifier), without phoneme mapping.",
    )
    per_beam: Annotated[float, Field(ge=0)] | SkipJsonSchema[None] = Field(
        default=None, description="The same with a beam search and the run's n-gram."
    )
    per_best: Annotated[float, Field(ge=0)] | SkipJsonSchema[None] = Field(
        default=None, description="The same with the slow search of --best, if there is one."
    )
    calibration_error_raw: float = Field(
        ge=0,
        le=1,
        description="Expected calibration error of confidences, ten bins, at temperature 1.",
    )
    calibration_error_calibrated: float = Field(
        ge=0, le=1, description="The same at the calibrated temperature."
    )
    times: TimeErrors | None = Field(
        description="Errors of phoneme times; null if the corpus has no exact times."
    )


class Quality(Document):
    """Quality of a run's transcripts, measured after training."""

    model_config = ConfigDict(title="quality.json of a run, version 1")

    version: Literal[1]
    corpus: str
    beam: int = Field(ge=1, description="Beam width of per_beam.")
    dev: SplitQuality
    test: SplitQuality

    def save(self, folder: Path) -> None:
        """Writes the file into a run folder atomically."""
        write_json(folder / QUALITY, self.model_dump(exclude_unset=True))


def measure_quality(
    run: LoadedRun, corpus: PreparedCorpus, dev: SplitOutputs, test: SplitOutputs
) -> Quality:
    """Measures the quality of a run.

    Args:
        run: The run with its decoding settings.
        corpus: The run's corpus.
        dev: Model outputs of the dev split.
        test: Model outputs of the test split.
    """
    beam = run.decoding.beam or BEAM
    parts = {}
    for name, split in (("dev", dev), ("test", test)):
        hypotheses = split.decode_greedily()
        measures: dict[str, Any] = {"per": split.error_rate(hypotheses)}
        if run.recognizer.task.kind != "classify":
            measures["per_beam"] = split.error_rate(split.decode(run.decoding, beam))
        if run.decoding.best is not None:
            measures["per_best"] = split.error_rate(split.decode(run.decoding.with_best()))
        for key, temperature in (("raw", 1.0), ("calibrated", run.decoding.temperature)):
            confidences, correct = split.confidences(hypotheses, temperature)
            measures[f"calibration_error_{key}"] = calibration_error(confidences, correct)
        measures["times"] = time_errors(run, corpus, name, {e.speaker for e in split.examples})
        parts[name] = SplitQuality(utterances=len(split.examples), **measures)
    return Quality(version=1, corpus=run.recipe.corpus.name, beam=beam, **parts)


def calibration_error(confidences: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error, 0..1 (Naeini et al. 2015).

    Mean distance between confidence and accuracy in bins of equal width, weighted by their counts.

    Args:
        confidences: Confidences, 0..1, shape (phonemes,).
        correct: Whether each phoneme is correct, shape (phonemes,).
    """
    if not len(confidences):
        return 0.0
    bins = np.minimum((confidences * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    error = 0.0
    for number in range(CALIBRATION_BINS):
        members = bins == number
        if members.any():
            error += members.mean() * abs(confidences[members].mean() - correct[members].mean())
    return float(error)


def time_errors(
    run: LoadedRun, corpus: PreparedCorpus, split: str, speakers: Collection[str] | None = None
) -> TimeErrors | None:
    """Errors of the times of correctly recognised phonemes.

    Args:
        run: The run.
        corpus: The run's corpus.
        split: ``train``, ``dev`` or ``test``.
        speakers: Speakers to use; by default those of ``split_speakers``.

    Returns:
        None if the corpus has no exact times, or if the run classifies tokens or needs more input
        than the recording.
    """
    recognizer = run.recognizer
    if speakers is None:
        speakers = split_speakers(run.recipe, corpus)
    chosen = split_cuts(run.recipe, corpus, split, speakers)
    cuts = [cut for cut in chosen if cut.supervisions[0].alignment]
    needs_more = recognizer.gate_is_speaker or recognizer.embedding_size is not None
    if recognizer.task.kind == "classify" or needs_more or not cuts:
        return None
    engine = RunEngine(run)
    front_end = engine.spec.front_end()
    errors: list[tuple[float, float]] = []
    for first in range(0, len(cuts), 64):
        batch = cuts[first : first + 64]
        recordings = [_record(cut, front_end) for cut in batch]
        transcripts = transcribe_recordings(engine, recordings, Options())
        for cut, transcript in zip(batch, transcripts, strict=True):
            reference = [
                (item.symbol, item.start, item.start + item.duration)
                for item in cut.supervisions[0].alignment["phoneme"]
            ]
            hypothesis = [(s.phoneme, s.start, s.end) for s in transcript.segments]
            errors += matched_errors(reference, hypothesis)
    if not errors:
        return None
    milliseconds = np.abs(np.array(errors)) * 1000
    start, end = (
        EdgeErrors(
            median_ms=float(np.median(edge)),
            within_20_ms=float((edge <= 20).mean()),
            within_25_ms=float((edge <= 25).mean()),
        )
        for edge in milliseconds.T
    )
    return TimeErrors(phonemes=len(milliseconds), start=start, end=end)


def _record(cut: Any, front_end: FrontEnd) -> Recording:
    return record(load_cut(cut, front_end.sample_rate), Path(cut.id), front_end)


def matched_errors(
    reference: Sequence[tuple[str, float, float]], hypothesis: Sequence[tuple[str, float, float]]
) -> list[tuple[float, float]]:
    """Errors of start and end of each correctly recognised phoneme, in seconds.

    Args:
        reference: Phonemes with start and end in seconds.
        hypothesis: Likewise.
    """
    pairs = align_phonemes([p for p, _, _ in reference], [p for p, _, _ in hypothesis])
    return [
        (hypothesis[h][1] - reference[r][1], hypothesis[h][2] - reference[r][2])
        for r, h in pairs
        if r is not None and h is not None and reference[r][0] == hypothesis[h][0]
    ]


def read_quality(folder: Path) -> Quality | None:
    """Reads the quality of a run; None if its folder has no such file.

    Raises:
        InputError: The file is not valid.
    """
    return Quality.read_if_present(folder / QUALITY)
