"""A few utterances in time: waveform, spectrogram, what was said and heard, and who was asked.

Legend: T rows (frames), E experts.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from phoneme_moe.errors import InputError, suggest
from phoneme_moe.features.audio import Waveform
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.collect.frame_phonemes import phoneme_rows
from phoneme_moe.report.collect.observe import Observation
from phoneme_moe.report.statistics import Floats

OF_A_KIND = 2
"""Utterances shown for each reason."""

POINTS = 800
"""Points of a waveform's outline."""

LONGEST_SECONDS = 30.0
"""Longer utterances are shown only when they are asked for."""

QUIETEST_DB = 60.0
"""Below its loudest point a spectrogram is white."""


@dataclass(frozen=True)
class Brief:
    """What is kept of every utterance, to choose from.

    Attributes:
        utterance: Its identifier.
        speaker: Who speaks.
        seconds: How long it is.
        weights: Mean weight of each expert, shape (experts,).
        entropy: Mean entropy of the rows' weights, bits.
        error_rate: Errors over phonemes; None without any.
    """

    utterance: str
    speaker: str
    seconds: float
    weights: Floats
    entropy: float
    error_rate: float | None


def brief(one: Observation) -> Brief:
    """Cuts an observation down to what choosing needs."""
    weights, score = one.routing.weights, one.score
    return Brief(
        one.example.utterance,
        one.example.speaker,
        len(weights) * one.routing.frame_seconds,
        weights.mean(axis=0, dtype=np.float64),
        float(entropy_bits(weights).mean()),
        score.errors / score.num_reference if score.num_reference else None,
    )


def choose(briefs: Sequence[Brief], asked: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Utterances worth looking at, with the reason.

    Typical ones are nearest to their speaker's mean weights, uncertain ones have the greatest
    entropy, the worst the greatest error rate; of different speakers where there are several.

    Args:
        briefs: Of a split; at least one.
        asked: Identifiers of others to show.

    Returns:
        Identifier and reason (``asked``, ``typical``, ``uncertain``, ``worst``), each once.

    Raises:
        InputError: An utterance that is asked for is not there.
    """
    known = [one.utterance for one in briefs]
    for name in asked:
        if name not in known:
            raise InputError(f"--utterance: no utterance {name!r} here{suggest(name, known)}")
    short = [one for one in briefs if 0 < one.seconds <= LONGEST_SECONDS] or list(briefs)
    speakers = {one.speaker for one in short}
    mean = {
        speaker: np.mean([one.weights for one in short if one.speaker == speaker], axis=0)
        for speaker in speakers
    }
    spoken = [one for one in short if one.error_rate is not None]
    kinds = {
        "typical": sorted(
            spoken or short, key=lambda one: float(np.abs(one.weights - mean[one.speaker]).sum())
        ),
        "uncertain": sorted(short, key=lambda one: -one.entropy),
        "worst": sorted(
            (one for one in spoken if one.error_rate), key=lambda one: -(one.error_rate or 0)
        ),
    }
    found = dict.fromkeys(asked, "asked")
    for reason, ordered in kinds.items():
        seen: set[str] = set()
        for one in ordered:
            enough = sum(why == reason for why in found.values()) >= OF_A_KIND
            if enough or one.utterance in found or (one.speaker in seen and len(speakers) > 1):
                continue
            seen.add(one.speaker)
            found[one.utterance] = reason
    return list(found.items())


@torch.no_grad()
def view(recognizer: Recognizer, one: Observation, sound: Waveform, why: str) -> dict[str, Any]:
    """One utterance, ready to be drawn; the keys are in docs/schemas/routing.schema.json.

    Args:
        recognizer: The model.
        one: What it made of the utterance.
        sound: As the model hears it.
        why: Why it is shown.
    """
    rate = recognizer.log_mel.sample_rate
    waveform = torch.from_numpy(sound)[None]
    features, mask = recognizer.log_mel(waveform.to(recognizer.device), torch.tensor([len(sound)]))
    said = recognizer(
        features,
        mask,
        _own_expert(recognizer, one),
        embedding=None if one.example.embedding is None else one.example.embedding[None],
    )
    posteriors = said.log_posteriors[0, : len(one.routing.weights)].cpu()
    seconds = len(sound) / rate
    # A token is one row, however long it is.
    step = seconds if recognizer.task.kind == "classify" else one.routing.frame_seconds
    spans = one.example.spans or _runs(one.spoken, one.example.phonemes, step)
    said_so = replace(one.example, phonemes=one.hypothesis, spans=())
    heard = _runs(phoneme_rows(recognizer, said_so, posteriors), one.hypothesis, step)
    return {
        "utterance": one.example.utterance,
        "speaker": one.example.speaker,
        "why": why,
        "seconds": seconds,
        "frame_seconds": step,
        "error_rate": (
            one.score.errors / one.score.num_reference if one.score.num_reference else None
        ),
        "envelope": _envelope(sound, rate),
        "spectrogram": _spectrogram(recognizer, waveform),
        "reference": _segments(spans, seconds),
        "hypothesis": _segments(heard, seconds),
        "weights": np.round(one.routing.weights.astype(np.float64), 4).tolist(),
        "entropy": np.round(entropy_bits(one.routing.weights), 4).tolist(),
    }


def entropy_bits(weights: NDArray[np.float32]) -> Floats:
    """Entropy of each row's weights in bits, shape (rows,)."""
    exact = weights.astype(np.float64)
    bits: Floats = -(exact * np.log2(np.where(exact > 0, exact, 1.0))).sum(axis=1)
    return np.maximum(bits, 0.0)


def audio_file(sound: Waveform, rate: int) -> bytes:
    """The sound as an Ogg Opus file in memory, which browsers play; 48 kHz is what Opus knows."""
    from phoneme_moe.features.audio import resample

    loudest = float(np.abs(sound).max(initial=0.0))
    level = sound * min(1.0, 0.9 / loudest) if loudest > 0.9 else sound
    content = io.BytesIO()
    soundfile.write(content, resample(level, rate, 48000), 48000, format="OGG", subtype="OPUS")
    return content.getvalue()


def _own_expert(recognizer: Recognizer, one: Observation) -> torch.Tensor | None:
    """Where the gate is who speaks."""
    if not recognizer.gate_is_speaker:
        return None
    return torch.tensor([recognizer.expert_names.index(one.example.speaker)])


def _runs(
    numbers: NDArray[np.int64], phonemes: Sequence[str], step: float
) -> list[tuple[str, float, float]]:
    """Rows of the same phoneme one after the other, as times in seconds."""
    first = np.flatnonzero(np.diff(numbers, prepend=-2))
    last = np.append(first[1:], len(numbers))
    return [
        (phonemes[numbers[start]], float(start * step), float(end * step))
        for start, end in zip(first, last, strict=True)
        if numbers[start] >= 0
    ]


def _segments(spans: Sequence[tuple[str, float, float]], seconds: float) -> list[dict[str, Any]]:
    return [
        {
            "phoneme": phoneme,
            "start": round(max(0.0, start), 4),
            "end": round(min(end, seconds), 4),
        }
        for phoneme, start, end in spans
        if start < seconds
    ]


def _envelope(sound: Waveform, rate: int) -> dict[str, Any]:
    """Lowest and highest sample of each of at most so many pieces."""
    piece = max(1, -(-len(sound) // POINTS))
    padded = np.pad(sound, (0, -len(sound) % piece), mode="edge").reshape(-1, piece)
    loudest = float(max(np.abs(padded).max(initial=0.0), 1e-9))
    return {
        "seconds_per_point": piece / rate,
        "low": np.round(padded.min(axis=1).astype(np.float64) / loudest, 3).tolist(),
        "high": np.round(padded.max(axis=1).astype(np.float64) / loudest, 3).tolist(),
    }


def _spectrogram(recognizer: Recognizer, waveform: torch.Tensor) -> dict[str, Any]:
    """Mel bands as the model has them, in steps of 1/255 of the range shown."""
    power = recognizer.log_mel.mel_energies(waveform.to(recognizer.device))[0].cpu().numpy()
    decibels = 10 * np.log10(np.maximum(power, 1e-12)).T  # (bands, columns)
    shown = (decibels - decibels.max() + QUIETEST_DB) / QUIETEST_DB
    pixels = np.round(255 * shown.clip(0, 1)).astype(np.uint8)
    return {
        "seconds_per_column": recognizer.log_mel.frame_seconds,
        "bands": pixels.shape[0],
        "columns": pixels.shape[1],
        "base64": base64.b64encode(pixels.tobytes()).decode(),
    }
