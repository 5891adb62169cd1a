"""What transcription with a run is worth, and the settings that make it so.

Found on dev: the temperature of confidences, and how the phoneme n-gram counts in a beam search.
Measured on test: phoneme error rate with and without the beam, calibration, and, where the corpus
has exact times, how far phonemes' starts and ends are off.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.errors import InputError
from phoneme_moe.files import write_json
from phoneme_moe.inference import recognize_examples
from phoneme_moe.run import Run, save_decoding
from phoneme_moe.speech.audio import resample
from phoneme_moe.speech.decoding import Decoding, confidences
from phoneme_moe.speech.front_end import FrontEnd
from phoneme_moe.speech.language_model import PhonemeNgram
from phoneme_moe.speech.scoring import correct_phonemes, score_utterance, total_score
from phoneme_moe.training.data import Example, corpus_speakers, load_examples
from phoneme_moe.transcription.card import Heard
from phoneme_moe.transcription.decode import Reading, decode
from phoneme_moe.transcription.recording import Recording, record
from phoneme_moe.transcription.run_engine import RunEngine, card_of
from phoneme_moe.transcription.transcribe import Options, transcribe_recordings

QUALITY = "quality.json"
"""In the run folder (docs/schemas/quality.schema.json)."""

BEAM = 16
"""Readings that a beam search keeps where nobody says."""

ORDER = 5
"""Of the phoneme n-gram."""

WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BONUSES = (-0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
"""What is tried on dev, one after the other and back."""

BINS = 10
"""Of confidence, in its expected calibration error."""


@dataclass(frozen=True)
class Listened:
    """What a run says of the utterances of a split.

    Attributes:
        examples: The utterances.
        heard: Of each by itself.
    """

    examples: Sequence[Example]
    heard: Sequence[Heard]

    def __len__(self) -> int:
        return len(self.examples)


def calibrate(run: Run, corpus: PreparedCorpus | None = None) -> Run:
    """Finds a run's decoding on dev, measures on test, and leaves both in its folder.

    Args:
        run: Just trained.
        corpus: Its corpus, where that is loaded already.

    Returns:
        The same run with its decoding.
    """
    corpus = corpus or load_corpus(run.recipe.corpus.name)
    speakers = corpus_speakers(run.recipe, corpus)
    dev = listen(run, corpus, "dev", speakers)
    test = listen(run, corpus, "test")
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
    run = replace(run, decoding=decoding)
    save_decoding(run.folder, decoding)
    write_json(run.folder / QUALITY, measure(run, corpus, dev, test))
    return run


def listen(
    run: Run, corpus: PreparedCorpus, split: str, speakers: Sequence[str] | None = None
) -> Listened:
    """What a run says of a split.

    Args:
        run: The run.
        corpus: Its corpus.
        split: ``train``, ``dev`` or ``test``.
        speakers: Whose utterances; all that the recipe names when left out.

    Raises:
        InputError: Nothing of the split can be used.
    """
    recognizer = run.recognizer
    if speakers is None and run.recipe.corpus.speakers is not None:
        speakers = [*run.recipe.corpus.speakers, *run.recipe.corpus.held_out_speakers]
    examples = load_examples(run.recipe, corpus, split, recognizer, speakers)
    ordered: list[Example] = []
    heard = []
    for batch, said in recognize_examples(recognizer, examples):
        posteriors = said.log_posteriors.float().cpu().numpy()
        frames = said.routing.mask.sum(dim=1).tolist()
        nothing = np.empty((1, 0, 0), np.float32)
        heard += [
            Heard(posteriors[row : row + 1, :n].copy(), nothing, None)
            for row, n in enumerate(frames)
        ]
        ordered += batch.examples
    return Listened(ordered, heard)


def _read(run: Run, split: Listened, decoding: Decoding, beam: int | None = None) -> list[Reading]:
    return decode(split.heard, replace(card_of(run), decoding=decoding), beam)


def _error_rate(run: Run, split: Listened, readings: Sequence[Reading]) -> Any:
    phonemes = run.recognizer.phonemes
    return total_score(
        [
            score_utterance(example.phonemes, phonemes.decode(reading.outputs))
            for example, reading in zip(split.examples, readings, strict=True)
        ]
    )


def _weigh_ngram(run: Run, dev: Listened, decoding: Decoding) -> Decoding:
    """Weight and bonus with the fewest errors on dev; the smaller weight where they are equal."""

    def errors(tried: Decoding) -> float:
        found: float = _error_rate(run, dev, _read(run, dev, tried, BEAM)).error_rate
        return found

    best, least = decoding, errors(decoding)
    for _ in range(2):
        around = [replace(best, weight=weight) for weight in WEIGHTS]
        for several in (around, None):
            for tried in several or [replace(best, bonus=bonus) for bonus in BONUSES]:
                if tried != best and (found := errors(tried)) < least:
                    best, least = tried, found
    return best


def _sure_and_right(
    run: Run, split: Listened, readings: Sequence[Reading], temperature: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidence of every phoneme that is recognised, and whether it was said."""
    sure: list[NDArray[Any]] = [np.empty(0)]
    right = [np.empty(0, bool)]
    phonemes = run.recognizer.phonemes
    for example, heard, reading in zip(split.examples, split.heard, readings, strict=True):
        sure.append(
            confidences(heard.log_posteriors[0], reading.outputs, reading.spans, temperature)
        )
        hypothesis = phonemes.decode(reading.outputs)
        right.append(np.array(correct_phonemes(example.phonemes, hypothesis), bool))
    return np.concatenate(sure), np.concatenate(right)


def _temperature(run: Run, dev: Listened) -> float:
    """At which confidences are likeliest (Guo et al. 2017)."""
    readings = _best_paths(run, dev)

    def surprise(temperature: float) -> float:
        sure, right = _sure_and_right(run, dev, readings, temperature)
        kept = np.clip(np.where(right, sure, 1 - sure), 1e-6, 1)
        return float(-np.log(kept).mean()) if len(kept) else 0.0

    tried = np.geomspace(0.25, 8, 41)
    return round(float(min(tried, key=surprise)), 3)


def _best_paths(run: Run, split: Listened) -> list[Reading]:
    """Greedy readings; of tokens, their one phoneme."""
    if run.recognizer.task.kind != "classify":
        return _read(run, split, Decoding())
    span = np.array([[0, 1]])
    return [
        Reading([int(heard.log_posteriors[0, 0].argmax())], span, span) for heard in split.heard
    ]


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


def measure(run: Run, corpus: PreparedCorpus, dev: Listened, test: Listened) -> dict[str, Any]:
    """The figures of ``quality.json``."""
    decoding = run.decoding
    found: dict[str, Any] = {"version": 1, "corpus": run.recipe.corpus.name}
    tokens = run.recognizer.task.kind == "classify"
    for name, split in (("dev", dev), ("test", test)):
        readings = _best_paths(run, split)
        part: dict[str, Any] = {"utterances": len(split)}
        part["per"] = _error_rate(run, split, readings).error_rate
        if not tokens:
            beam = _read(run, split, decoding, BEAM)
            part["per_beam"] = _error_rate(run, split, beam).error_rate
        for key, temperature in (("raw", 1.0), ("calibrated", decoding.temperature)):
            sure, right = _sure_and_right(run, split, readings, temperature)
            part[f"calibration_error_{key}"] = calibration_error(sure, right)
        part["times"] = time_errors(run, corpus, name)
        found[name] = part
    found["beam"] = BEAM
    return found


def time_errors(run: Run, corpus: PreparedCorpus, split: str) -> dict[str, Any] | None:
    """How far starts and ends of rightly recognised phonemes are off, where times are exact."""
    recognizer = run.recognizer
    cuts = [cut for cut in corpus.cuts(split) if cut.supervisions[0].alignment]
    unheard = recognizer.asks_speaker or recognizer.embedding_size is not None
    if recognizer.task.kind == "classify" or unheard or not cuts:
        return None
    engine = RunEngine(run)
    front_end = engine.card.front_end()
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
    import jiwer

    if not truth or not found:
        return []
    alignment = jiwer.process_words(
        " ".join(p for p, _, _ in truth), " ".join(p for p, _, _ in found)
    ).alignments[0]
    return [
        (found[h][1] - truth[r][1], found[h][2] - truth[r][2])
        for chunk in alignment
        if chunk.type == "equal"
        for r, h in zip(
            range(chunk.ref_start_idx, chunk.ref_end_idx),
            range(chunk.hyp_start_idx, chunk.hyp_end_idx),
            strict=True,
        )
    ]


def read_quality(run: Run) -> dict[str, Any] | None:
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
