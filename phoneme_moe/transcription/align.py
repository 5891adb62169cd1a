"""When each phoneme of a known sequence was said, how surely, and how well.

Legend: T frames of posteriors, P outputs with the blank first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.viterbi import Spans, force_align, min_num_frames, share_gaps
from phoneme_moe.errors import InputError
from phoneme_moe.transcription.model_spec import Engine, ModelOutput
from phoneme_moe.transcription.pieces import TimedHypothesis, build_transcript, find_times
from phoneme_moe.transcription.recording import Recording, read_recording
from phoneme_moe.transcription.transcript import Transcript
from phoneme_moe.transcription.windowing import infer

NEIGHBOURS = 4
"""Phonemes to either side that are looked at with one when others are put in its place."""


@dataclass(frozen=True)
class Word:
    """A word of the text.

    Attributes:
        word: As written.
        start: In seconds.
        end: In seconds.
    """

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Alignment:
    """A transcript of what was to be said.

    Attributes:
        transcript: The phonemes with times and confidence.
        goodness: Of each: how much likelier the recording is with it than with the likeliest other
            phoneme, or none, in its place; natural logarithm, above 0 where nothing fits better
            (goodness of pronunciation: Witt & Young 2000; by CTC: Cao et al. 2024).
        likeliest: What fits best in its place, itself included; "" where nothing does.
        words: The words of the text, where there was one.
    """

    transcript: Transcript
    goodness: tuple[float, ...]
    likeliest: tuple[str, ...]
    words: tuple[Word, ...] = ()


def align_phonemes(
    engine: Engine, path: str | Path, phonemes: Sequence[str], channel: int | None = None
) -> Alignment:
    """Aligns a recording with the phonemes that were to be said in it.

    Args:
        engine: The model; one that recognises utterances.
        path: The audio file.
        phonemes: In order, at least one.
        channel: As ``features.audio.load_waveform`` takes it.

    Raises:
        InputError: The file cannot be used, a phoneme is not one of the model's, there are more of
            them than fit into the recording, or the model names tokens.
    """
    heard, recording = _listen(engine, Path(path), channel)
    outputs = engine.spec.phonemes.encode(phonemes)
    return _aligned(engine, heard, recording, outputs)


def align_text(
    engine: Engine,
    path: str | Path,
    text: str,
    lexicon: Mapping[str, Sequence[Sequence[str]]],
    channel: int | None = None,
) -> Alignment:
    """Aligns a recording with a text; of several pronunciations of a word the likeliest is taken.

    Args:
        engine: The model.
        path: The audio file.
        text: Words with spaces between; case and punctuation around words do not count.
        lexicon: Pronunciations of each word, in lower case.
        channel: As ``features.audio.load_waveform`` takes it.

    Raises:
        InputError: As ``align_phonemes``; or a word is not in the lexicon.
    """
    words = [word.strip(PUNCTUATION) for word in text.lower().split()]
    words = [word for word in words if word]
    if not words:
        raise InputError("--text: found no word")
    for word in words:
        if word not in lexicon:
            raise InputError(f"--text: {word!r} is not in the lexicon")
    heard, recording = _listen(engine, Path(path), channel)
    encode = engine.spec.phonemes.encode
    said = torch.from_numpy(heard.log_posteriors[0])
    options = [[encode(pronunciation) for pronunciation in lexicon[word]] for word in words]
    chosen = [several[0] for several in options]
    for index, several in enumerate(options):
        if len(several) > 1:
            tried = [_flat([*chosen[:index], own, *chosen[index + 1 :]]) for own in several]
            chosen[index] = several[int(_log_likelihoods(said, tried).argmax())]
    found = _aligned(engine, heard, recording, _flat(chosen))
    segments, first, placed = found.transcript.segments, 0, []
    for word, own in zip(words, chosen, strict=True):
        last = first + len(own) - 1
        placed.append(Word(word, segments[first].start, segments[last].end))
        first = last + 1
    return replace(found, words=tuple(placed))


PUNCTUATION = ".,;:!?\"'()[]{}<>-–—…¿¡«»“”‘’"


def _flat(pronunciations: Sequence[Sequence[int]]) -> list[int]:
    return [output for own in pronunciations for output in own]


def _listen(engine: Engine, path: Path, channel: int | None) -> tuple[ModelOutput, Recording]:
    spec = engine.spec
    if spec.tokens:
        raise InputError(
            f"{spec.source}: it names the phoneme of one token; expected a run that recognises "
            "utterances (task.kind: recognize)"
        )
    recording = read_recording(path, spec.front_end(), channel)
    (heard,) = infer(engine, [recording])
    return heard, recording


def _aligned(
    engine: Engine, heard: ModelOutput, recording: Recording, outputs: Sequence[int]
) -> Alignment:
    spec = engine.spec
    said = heard.log_posteriors
    needed = min_num_frames(outputs)
    if needed > said.shape[1]:
        step = spec.feature_seconds * spec.stack
        raise InputError(
            f"{recording.path}: {len(outputs)} phonemes need at least {needed * step:.2f} s: found "
            f"{recording.duration:.2f} s"
        )
    (spans,) = force_align(said, [said.shape[1]], [outputs])
    timing = None if heard.timing is None else [heard.timing[0]]
    (times,) = find_times([outputs], [spans], timing, spec)
    reading = TimedHypothesis(list(outputs), spans, times)
    transcript = build_transcript(recording, heard, reading, spec)
    goodness, likeliest = goodness_of_pronunciation(torch.from_numpy(said[0]), outputs, spans)
    names = ["" if output == BLANK else spec.phonemes.decode([output])[0] for output in likeliest]
    return Alignment(transcript, tuple(goodness), tuple(names))


def goodness_of_pronunciation(
    log_posteriors: Tensor, outputs: Sequence[int], spans: Spans
) -> tuple[list[float], list[int]]:
    """How much better each phoneme fits than any other, or none, in its place.

    All alignments count, not only the best: ``log P(phonemes) - max log P(phonemes with another)``,
    over the frames of the phoneme and its nearest neighbours.

    Args:
        log_posteriors: Shape (frames, outputs).
        outputs: The phonemes.
        spans: Frames in which each is emitted, shape (phonemes, 2).

    Returns:
        The goodness of each, and the output that fits best in its place, the blank for none.
    """
    goodness, likeliest = [], []
    shared = share_gaps(spans)
    num_outputs = log_posteriors.shape[1]
    for index, output in enumerate(outputs):
        first, last = max(0, index - NEIGHBOURS), min(len(outputs), index + NEIGHBOURS + 1)
        begin = 0 if first == 0 else int(shared[first, 0])
        end = len(log_posteriors) if last == len(outputs) else int(shared[last - 1, 1])
        before, after = list(outputs[first:index]), list(outputs[index + 1 : last])
        tried = [[*before, *([q] if q != BLANK else []), *after] for q in range(num_outputs)]
        found = _log_likelihoods(log_posteriors[begin:end], tried)
        best = int(found.argmax())
        own = float(found[output])
        found[output] = -torch.inf
        goodness.append(own - float(found.max()))
        likeliest.append(best)
    return goodness, likeliest


def _log_likelihoods(log_posteriors: Tensor, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Of each sequence, over all its alignments; ``-inf`` of what needs more frames."""
    lengths = torch.tensor([len(own) for own in sequences])
    targets = torch.zeros(len(sequences), max(1, int(lengths.max())), dtype=torch.long)
    for row, own in enumerate(sequences):
        targets[row, : len(own)] = torch.tensor(own, dtype=torch.long)
    frames = torch.full((len(sequences),), len(log_posteriors))
    said = log_posteriors[:, None].expand(-1, len(sequences), -1)
    return -functional.ctc_loss(said, targets, frames, lengths, blank=BLANK, reduction="none")
