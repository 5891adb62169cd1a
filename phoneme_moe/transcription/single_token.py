"""Transcription of recordings of a single token, for models that classify tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phoneme_moe.audio.waveform import Samples, Waveform, load_waveform
from phoneme_moe.decoding.decoder import Segment
from phoneme_moe.errors import InputError
from phoneme_moe.features.log_mel_numpy import FrontEnd
from phoneme_moe.transcription.model_spec import Engine, ModelSpec
from phoneme_moe.transcription.recording import record, source_path
from phoneme_moe.transcription.transcript import Transcript

LONGEST_SECONDS = 2.0
"""Longest recording of one token: a syllable with silence around it."""


def transcribe_token(
    engine: Engine, path: Path | Samples, channel: int | None = None
) -> Transcript:
    """Classifies the token at the steepest rise of energy, such as the burst of a stop.

    Args:
        engine: Inference engine of a model that classifies tokens.
        path: An audio file, or samples in memory.
        channel: As in ``audio.waveform.load_waveform``.

    Raises:
        InputError: The file is not usable audio, or longer than ``LONGEST_SECONDS``: its one token
            would be no transcript of it.
    """
    spec, front_end = engine.spec, engine.spec.front_end()
    waveform = load_waveform(path, front_end.sample_rate, channel)
    seconds = len(waveform) / front_end.sample_rate
    if seconds > LONGEST_SECONDS:
        raise InputError(
            f"{source_path(path)}: lasts {seconds:.1f} s, but {spec.source} classifies single "
            f"tokens: expected a recording of one, of at most {LONGEST_SECONDS:g} s, or a run that "
            "recognises utterances (task.kind: recognize)"
        )
    recording = record(waveform, source_path(path), front_end)
    token, start = _excise(spec, front_end, waveform, recording.energies[:].sum(axis=1))
    features = front_end(token)
    model_output = engine.infer(features[None], np.array([len(features)]))
    scaled = model_output.log_posteriors[0, 0] / spec.decoding.temperature
    odds = np.exp(scaled - scaled.max())
    best = int(scaled.argmax())
    weights = dict(zip(spec.experts, model_output.weights[0, 0].tolist(), strict=True))
    segment = Segment(
        spec.phonemes.decode([best])[0],
        max(start, 0.0),
        min(start + spec.token_ms / 1000, recording.duration),
        float(odds[best] / odds.sum()),
        weights,
    )
    return Transcript(
        path=recording.path,
        duration=recording.duration,
        segments=() if recording.is_silent else (segment,),
        silences=tuple(recording.silences()) if recording.is_silent else (),
        routing=weights,
        run=spec.source,
        recipe=spec.recipe,
    )


def _excise(
    spec: ModelSpec, front_end: FrontEnd, waveform: Waveform, energy: np.ndarray
) -> tuple[Waveform, float]:
    """The token around the steepest rise of energy, and where it starts in seconds."""
    rate = front_end.sample_rate
    length = round(spec.token_ms * rate / 1000)
    level = 10 * np.log10(np.maximum(energy, energy.max(initial=0.0) * 1e-6 + 1e-30))
    # The rise over 30 ms. Silence is prepended, since the file may begin with the burst.
    before = np.concatenate([np.full(3, level.min(initial=0.0)), level])[: len(level)]
    onset = int(np.argmax(level - before)) * front_end.hop
    first = onset - round(spec.onset_ms / 1000 * rate)
    token = np.pad(waveform, length)[first + length :][:length]
    return token, first / rate
