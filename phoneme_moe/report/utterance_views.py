"""Selected utterances over time: waveform, spectrogram, phonemes and routing.

Legend: T rows (frames), E experts.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.errors import ArgumentError, suggest
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.collect.frame_phonemes import phoneme_rows
from phoneme_moe.report.collect.observe import Observation
from phoneme_moe.report.document_parts import Envelope, Segment, Spectrogram, UtteranceView
from phoneme_moe.report.ogg import with_serial
from phoneme_moe.report.statistics import Floats

Reason = Literal["typical", "uncertain", "worst", "asked"]
"""Reason why an utterance is shown; ``asked``: requested by name."""

OF_A_KIND = 2
"""Number of utterances shown for each reason."""

POINTS = 800
"""Number of points of a waveform's outline."""

LONGEST_SECONDS = 30.0
"""Longest utterance in seconds that is selected automatically."""

QUIETEST_DB = 60.0
"""Dynamic range of the spectrogram below its maximum."""


@dataclass(frozen=True)
class UtteranceSummary:
    """Summary of an utterance, kept for selection.

    Attributes:
        utterance: Identifier of the utterance.
        speaker: Its speaker.
        seconds: Duration in seconds.
        weights: Mean weight of each expert, shape (experts,).
        entropy: Mean entropy of the rows' weights in bits.
        error_rate: Errors over phonemes; None without phonemes.
    """

    utterance: str
    speaker: str
    seconds: float
    weights: Floats
    entropy: float
    error_rate: float | None


def summarize_utterance(observation: Observation) -> UtteranceSummary:
    """Summarises an observation for the selection of utterances."""
    weights, score = observation.routing.weights, observation.score
    return UtteranceSummary(
        observation.example.utterance,
        observation.example.speaker,
        len(weights) * observation.routing.frame_seconds,
        weights.mean(axis=0, dtype=np.float64),
        float(entropy_bits(weights).mean()),
        score.errors / score.num_reference if score.num_reference else None,
    )


def choose_utterances(
    utterances: Sequence[UtteranceSummary], requested: Sequence[str] = ()
) -> list[tuple[str, Reason]]:
    """Selects utterances to show, with the reason.

    Typical utterances have no more errors than the median of their speaker, and of these are
    nearest to the speaker's mean weights; uncertain ones have the greatest entropy, the worst the
    greatest error rate; different speakers are preferred.

    Args:
        utterances: Utterances of a split, at least one.
        requested: Identifiers of additional utterances to show.

    Returns:
        Identifier and reason, each utterance once, those requested (``asked``) first.

    Raises:
        ArgumentError: A requested utterance does not exist.
    """
    known = [summary.utterance for summary in utterances]
    for name in requested:
        if name not in known:
            raise ArgumentError(
                "utterance", f"no utterance {name!r} in the split{suggest(name, known)}"
            )
    short = [summary for summary in utterances if 0 < summary.seconds <= LONGEST_SECONDS] or list(
        utterances
    )
    shown: dict[str, Reason] = dict.fromkeys(requested, "asked")
    many_speakers = len({summary.speaker for summary in short}) > 1
    for reason, ranking in _rankings(short):
        shown |= dict.fromkeys(_first_of(ranking, shown, many_speakers), reason)
    return list(shown.items())


def _rankings(
    utterances: Sequence[UtteranceSummary],
) -> list[tuple[Reason, list[UtteranceSummary]]]:
    """The utterances ranked by each reason, best first."""
    by_speaker: dict[str, list[Floats]] = {}
    for summary in utterances:
        by_speaker.setdefault(summary.speaker, []).append(summary.weights)
    mean = {speaker: np.mean(weights, axis=0) for speaker, weights in by_speaker.items()}
    scored = [summary for summary in utterances if summary.error_rate is not None]
    rates: dict[str, list[float]] = {}
    for summary in scored:
        rates.setdefault(summary.speaker, []).append(summary.error_rate or 0.0)
    median = {speaker: float(np.median(of_speaker)) for speaker, of_speaker in rates.items()}

    def untypical(summary: UtteranceSummary) -> tuple[bool, float]:
        """More errors than the speaker's median, then distance from the speaker's weights."""
        more = (summary.error_rate or 0.0) > median.get(summary.speaker, 0.0)
        return more, float(np.abs(summary.weights - mean[summary.speaker]).sum())

    return [
        ("typical", sorted(scored or utterances, key=untypical)),
        ("uncertain", sorted(utterances, key=lambda summary: -summary.entropy)),
        (
            "worst",
            sorted(
                (summary for summary in scored if summary.error_rate),
                key=lambda summary: -(summary.error_rate or 0),
            ),
        ),
    ]


def _first_of(
    ranking: Sequence[UtteranceSummary], shown: Collection[str], different_speakers: bool
) -> list[str]:
    """The first few that are not yet shown."""
    picked: dict[str, str] = {}
    for summary in ranking:
        repeated = different_speakers and summary.speaker in picked.values()
        if len(picked) < OF_A_KIND and summary.utterance not in shown and not repeated:
            picked[summary.utterance] = summary.speaker
    return list(picked)


@torch.no_grad()
def view(
    recognizer: Recognizer, observation: Observation, waveform: Waveform, reason: Reason
) -> UtteranceView:
    """Prepares one utterance for drawing.

    Args:
        recognizer: The model.
        observation: Routing, hypothesis and phonemes of the utterance.
        waveform: Waveform at the model's sample rate.
        reason: Reason why it is shown.
    """
    example, routing, score = observation.example, observation.routing, observation.score
    rate = recognizer.front_end.sample_rate
    samples = torch.from_numpy(waveform)[None]
    features, mask = recognizer.front_end(
        samples.to(recognizer.device), torch.tensor([len(waveform)])
    )
    recognition = recognizer(
        features,
        mask,
        _expert_of_speaker(recognizer, example.speaker),
        embedding=None if example.embedding is None else example.embedding[None],
    )
    log_posteriors = recognition.log_posteriors[0, : len(routing.weights)].cpu()
    seconds = len(waveform) / rate
    # A token is one row, whatever its length.
    step = seconds if recognizer.task.kind == "classify" else routing.frame_seconds
    reference = example.spans or _runs(observation.spoken, example.phonemes, step)
    recognized = replace(example, phonemes=observation.hypothesis, spans=())
    aligned = phoneme_rows(recognizer, recognized, log_posteriors)
    return UtteranceView(
        utterance=example.utterance,
        speaker=example.speaker,
        why=reason,
        seconds=seconds,
        frame_seconds=step,
        error_rate=score.errors / score.num_reference if score.num_reference else None,
        envelope=_envelope(waveform, rate),
        spectrogram=_spectrogram(recognizer, samples),
        reference=_segments(reference, seconds),
        hypothesis=_segments(_runs(aligned, observation.hypothesis, step), seconds),
        weights=np.round(routing.weights.astype(np.float64), 4).tolist(),
        entropy=np.round(entropy_bits(routing.weights), 4).tolist(),
    )


def entropy_bits(weights: NDArray[np.float32]) -> Floats:
    """Entropy of each row's weights in bits, shape (rows,)."""
    exact = weights.astype(np.float64)
    bits: Floats = -(exact * np.log2(np.where(exact > 0, exact, 1.0))).sum(axis=1)
    return np.maximum(bits, 0.0)


def audio_file(waveform: Waveform, rate: int) -> bytes:
    """The waveform as an Ogg Opus file, resampled to 48 kHz; the same for the same waveform."""
    from phoneme_moe.audio.waveform import resample

    loudest = float(np.abs(waveform).max(initial=0.0))
    level = waveform * min(1.0, 0.9 / loudest) if loudest > 0.9 else waveform
    content = io.BytesIO()
    soundfile.write(content, resample(level, rate, 48000), 48000, format="OGG", subtype="OPUS")
    return with_serial(content.getvalue())


def _expert_of_speaker(recognizer: Recognizer, speaker: str) -> torch.Tensor | None:
    """Index of the speaker's expert if the gate takes the speaker's identity, else None."""
    if not recognizer.gate_is_speaker:
        return None
    return torch.tensor([recognizer.expert_names.index(speaker)])


def _runs(
    numbers: NDArray[np.int64], phonemes: Sequence[str], step: float
) -> list[tuple[str, float, float]]:
    """Runs of rows with the same phoneme, as times in seconds."""
    first = np.flatnonzero(np.diff(numbers, prepend=-2))
    last = np.append(first[1:], len(numbers))
    return [
        (phonemes[numbers[start]], float(start * step), float(end * step))
        for start, end in zip(first, last, strict=True)
        if numbers[start] >= 0
    ]


def _segments(spans: Sequence[tuple[str, float, float]], seconds: float) -> list[Segment]:
    return [
        Segment(phoneme=phoneme, start=round(max(0.0, start), 4), end=round(min(end, seconds), 4))
        for phoneme, start, end in spans
        if start < seconds
    ]


def _envelope(waveform: Waveform, rate: int) -> Envelope:
    """Lowest and highest sample of each piece of the waveform."""
    piece = max(1, -(-len(waveform) // POINTS))
    padded = np.pad(waveform, (0, -len(waveform) % piece), mode="edge").reshape(-1, piece)
    loudest = float(max(np.abs(padded).max(initial=0.0), 1e-9))
    return Envelope(
        seconds_per_point=piece / rate,
        low=np.round(padded.min(axis=1).astype(np.float64) / loudest, 3).tolist(),
        high=np.round(padded.max(axis=1).astype(np.float64) / loudest, 3).tolist(),
    )


def _spectrogram(recognizer: Recognizer, waveform: torch.Tensor) -> Spectrogram:
    """The model's mel bands in steps of 1/255 of the dynamic range."""
    power = recognizer.front_end.mel_energies(waveform.to(recognizer.device))[0].cpu().numpy()
    decibels = 10 * np.log10(np.maximum(power, 1e-12)).T  # (bands, columns)
    shown = (decibels - decibels.max() + QUIETEST_DB) / QUIETEST_DB
    pixels = np.round(255 * shown.clip(0, 1)).astype(np.uint8)
    return Spectrogram(
        seconds_per_column=recognizer.front_end.frame_seconds,
        bands=pixels.shape[0],
        columns=pixels.shape[1],
        base64=base64.b64encode(pixels.tobytes()).decode(),
    )
