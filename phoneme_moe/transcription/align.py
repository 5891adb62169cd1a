"""Forced alignment of a recording with known phonemes or text, and scores of the pronunciation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch

from phoneme_moe.audio.waveform import Samples
from phoneme_moe.corpora.lexicon import Lexicon
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.symbols import symbol_encoder, symbol_map
from phoneme_moe.decoding.viterbi import force_align, min_num_frames
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.labels.recordings import Labels
from phoneme_moe.transcription.goodness import goodness_of_pronunciation, log_likelihoods
from phoneme_moe.transcription.model_spec import Engine, ModelOutput, ModelSpec
from phoneme_moe.transcription.recording import Recording, read_recording
from phoneme_moe.transcription.segment_times import (
    TimedHypothesis,
    build_transcript,
    find_times,
)
from phoneme_moe.transcription.transcript import Transcript, with_symbols
from phoneme_moe.transcription.windowing import infer


@dataclass(frozen=True)
class Word:
    """A word of the text, with its times.

    Attributes:
        word: The word in lower case, without punctuation.
        start: Start in seconds.
        end: End in seconds.
        score: Mean score of its phonemes, 0..100; None if the model has no calibration.
    """

    word: str
    start: float
    end: float
    score: float | None = None


@dataclass(frozen=True)
class Alignment:
    """A recording aligned with known phonemes.

    Attributes:
        transcript: The phonemes with times and confidence.
        goodness: Goodness of pronunciation of each phoneme: natural logarithm of the likelihood
            ratio between it and the best alternative (another phoneme, or none) in its place.
            Positive if no alternative fits better (Witt & Young 2000; with CTC: Cao et al. 2024).
        best: The phoneme that fits best in each place, possibly itself; "" if no phoneme fits best.
        words: The words of the text; empty if phonemes were given.
        labelled: Start and end of each phoneme in the labels that it was taken from, in seconds;
            None if they have no times.
        scores: Score of each phoneme, 0..100: of 100 phonemes with the score 80, half of all having
            been replaced on purpose, about 80 were the phoneme of the text
            (``decoding.goodness``). None if the model has no calibration.
    """

    transcript: Transcript
    goodness: tuple[float, ...]
    best: tuple[str, ...]
    words: tuple[Word, ...] = ()
    labelled: tuple[tuple[float, float], ...] | None = None
    scores: tuple[float, ...] | None = None

    @property
    def score(self) -> float | None:
        """Score of the sentence: the mean of its phonemes' scores; None without calibration."""
        return None if self.scores is None else fmean(self.scores)

    def onset_differences(self) -> list[float]:
        """Start of each phoneme minus its labelled start in seconds; empty without labels."""
        segments = self.transcript.segments if self.labelled else ()
        return [
            s.start - start for s, (start, _) in zip(segments, self.labelled or (), strict=True)
        ]


def align_phonemes(
    engine: Engine,
    path: str | Path | Samples,
    phonemes: Sequence[str],
    channel: int | None = None,
    symbols: str | Path | None = None,
) -> Alignment:
    """Aligns a recording with phonemes.

    Args:
        engine: Inference engine of a model that recognises utterances.
        path: The audio file, or samples in memory.
        phonemes: The phonemes spoken, in order; at least one.
        channel: As in ``audio.waveform.load_waveform``.
        symbols: Notation or table of the phonemes that are given and returned
            (``decoding.symbols.symbol_map``); by default the model's own.

    Raises:
        InputError: The file cannot be used, a phoneme is not in the model's set, the recording is
            too short for that many phonemes, or the model classifies tokens.
    """
    if not phonemes:
        raise ArgumentError("phonemes", "found none, expected at least one")
    encode = symbol_encoder(engine.spec.phonemes, symbols)
    model_output, recording = _infer_file(engine, path, channel)
    alignment = _align(engine, model_output, recording, encode(phonemes))
    return _with_symbols(alignment, engine, symbols)


def align_labels(
    engine: Engine,
    path: str | Path | Samples,
    labels: Labels,
    channel: int | None = None,
    symbols: str | Path | None = None,
) -> Alignment:
    """Aligns a recording with the phonemes of a label file, whose times are kept beside the new.

    Args:
        engine: Inference engine of a model that recognises utterances.
        path: The audio file, or samples in memory.
        labels: The phonemes, at least one.
        channel: As in ``audio.waveform.load_waveform``.
        symbols: As for ``align_phonemes``.

    Raises:
        InputError: As for ``align_phonemes``; or the labels end after the recording.
    """
    if not labels.symbols:
        raise InputError(f"{labels.file}: found no phonemes, expected at least one")
    try:
        symbol_encoder(engine.spec.phonemes, symbols)(labels.symbols)
    except InputError as error:
        raise InputError(f"{labels.file}: {error}") from error
    alignment = align_phonemes(engine, path, labels.symbols, channel, symbols)
    return replace(alignment, labelled=labels.within(alignment.transcript.duration).times)


def align_text(
    engine: Engine,
    path: str | Path | Samples,
    text: str,
    lexicon: Lexicon,
    channel: int | None = None,
    symbols: str | Path | None = None,
) -> Alignment:
    """Aligns a recording with a text; each word gets its most likely pronunciation.

    Args:
        engine: Inference engine of a model that recognises utterances.
        path: The audio file, or samples in memory.
        text: Words separated by spaces; case and punctuation around words are ignored.
        lexicon: The pronunciation lexicon.
        channel: As in ``audio.waveform.load_waveform``.
        symbols: As for ``align_phonemes``, of the lexicon, too.

    Raises:
        InputError: As for ``align_phonemes``; or a word is not in the lexicon.
    """
    words = lexicon.spoken_words(text)
    if not words:
        raise ArgumentError("text", "found none, expected at least one word")
    for spoken in words:
        if not spoken.pronunciations:
            raise ArgumentError("text", f"{spoken.word!r} is not in the lexicon")
    model_output, recording = _infer_file(engine, path, channel)
    encode = symbol_encoder(engine.spec.phonemes, symbols)
    log_posteriors = torch.from_numpy(model_output.log_posteriors[0])
    outputs = iter(encode(p for spoken in words for one in spoken.pronunciations for p in one))
    variants = [[list(islice(outputs, len(one))) for one in w.pronunciations] for w in words]
    chosen = [pronunciations[0] for pronunciations in variants]
    for index, pronunciations in enumerate(variants):
        if len(pronunciations) > 1:
            sequences = [
                _flatten([*chosen[:index], pronunciation, *chosen[index + 1 :]])
                for pronunciation in pronunciations
            ]
            likelihoods = log_likelihoods(log_posteriors, sequences)
            chosen[index] = pronunciations[int(likelihoods.argmax())]
    alignment = _align(engine, model_output, recording, _flatten(chosen))
    segments, scores = alignment.transcript.segments, alignment.scores
    first, timed_words = 0, []
    for spoken, pronunciation in zip(words, chosen, strict=True):
        last = first + len(pronunciation) - 1
        score = None if scores is None else fmean(scores[first : last + 1])
        timed_words.append(Word(spoken.word, segments[first].start, segments[last].end, score))
        first = last + 1
    return _with_symbols(replace(alignment, words=tuple(timed_words)), engine, symbols)


def _with_symbols(alignment: Alignment, engine: Engine, symbols: str | Path | None) -> Alignment:
    """The same alignment in another notation."""
    if symbols is None:
        return alignment
    names = symbol_map(engine.spec.phonemes.symbols, symbols)
    return replace(
        alignment,
        transcript=with_symbols(alignment.transcript, names, symbols=str(symbols)),
        best=tuple(names.get(phoneme, "") for phoneme in alignment.best),
    )


def _flatten(pronunciations: Sequence[Sequence[int]]) -> list[int]:
    return [output for pronunciation in pronunciations for output in pronunciation]


def require_utterances(spec: ModelSpec) -> None:
    """Checks that a model recognises whole utterances.

    Raises:
        InputError: It classifies tokens.
    """
    if spec.tokens:
        raise InputError(
            f"{spec.source}: the model classifies single tokens (one token per recording); "
            "expected a run that recognises utterances (task.kind: recognize)"
        )


def _infer_file(
    engine: Engine, path: str | Path | Samples, channel: int | None
) -> tuple[ModelOutput, Recording]:
    require_utterances(engine.spec)
    audio = path if isinstance(path, Samples) else Path(path)
    recording = read_recording(audio, engine.spec.front_end(), channel)
    if recording.is_silent:
        raise InputError(f"{recording.path}: silent, expected speech to align")
    (model_output,) = infer(engine, [recording])
    return model_output, recording


def _align(
    engine: Engine, model_output: ModelOutput, recording: Recording, outputs: Sequence[int]
) -> Alignment:
    spec = engine.spec
    log_posteriors = model_output.log_posteriors
    num_frames = log_posteriors.shape[1]
    needed = min_num_frames(outputs)
    if needed > num_frames:
        step = spec.feature_seconds * spec.stack
        raise InputError(
            f"{recording.path}: {len(outputs)} phonemes need at least {needed * step:.2f} s, found "
            f"{recording.duration:.2f} s"
        )
    (spans,) = force_align(log_posteriors, [num_frames], [outputs])
    timing = None if model_output.timing is None else [model_output.timing[0]]
    (times,) = find_times([outputs], [spans], timing, spec)
    hypothesis = TimedHypothesis(list(outputs), spans, times)
    transcript = build_transcript(recording, model_output, hypothesis, spec)
    goodness, best = goodness_of_pronunciation(torch.from_numpy(log_posteriors[0]), outputs, spans)
    names = ["" if output == BLANK else spec.phonemes.decode([output])[0] for output in best]
    calibration = spec.decoding.goodness
    scores = None if calibration is None else tuple(map(calibration.score, goodness))
    return Alignment(transcript, tuple(goodness), tuple(names), scores=scores)
