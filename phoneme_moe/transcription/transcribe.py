"""Audio files to phonemes with times, confidence and the experts that were asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from phoneme_moe.embeddings import Embeddings
from phoneme_moe.errors import InputError
from phoneme_moe.recognizer import Recognizer
from phoneme_moe.run import Run
from phoneme_moe.speech.audio import AUDIO_SUFFIXES, Waveform, load_waveform
from phoneme_moe.speech.decoding import Segment, decode_greedy


@dataclass(frozen=True)
class Transcript:
    """What was recognised in a file.

    Attributes:
        path: The file.
        duration: Its length in seconds.
        segments: The phonemes in order.
        routing: Mean weight of each expert over the file, by name; sums to 1. Of an encoder: in its
            last sparse layer.
    """

    path: Path
    duration: float
    segments: tuple[Segment, ...]
    routing: dict[str, float]

    @property
    def phonemes(self) -> tuple[str, ...]:
        """The phonemes alone."""
        return tuple(segment.phoneme for segment in self.segments)


@torch.inference_mode()
def transcribe(run: Run, path: str | Path, embeddings: str | Path | None = None) -> Transcript:
    """Recognises an audio file.

    A run that classifies tokens answers with one phoneme: that of the token around the steepest
    rise of energy, where a stop bursts.

    Args:
        run: The run.
        path: The audio file; any rate and channel count.
        embeddings: A safetensors file with a vector for the recording, by its name without ending,
            for runs whose routers see one (``phoneme_moe.embeddings``).

    Raises:
        InputError: The file is not audio that can be used, or the run's gate is who speaks; or the
            run needs an embedding and there is none.
    """
    recognizer = run.recognizer
    if recognizer.asks_speaker:
        raise InputError(
            f"{run.folder}: model.gate is of kind speaker, and a recording does not say who "
            "speaks; expected a run whose gate listens (evaluate can use this one)"
        )
    size = recognizer.embedding_size
    if size is not None and embeddings is None:
        raise InputError(
            f"{run.folder}: its routers see an embedding of {size} numbers for each recording; "
            "expected --embeddings FILE"
        )
    rate = recognizer.log_mel.sample_rate
    waveform = load_waveform(path, rate)
    duration = len(waveform) / rate
    start = 0.0
    sound = waveform
    if recognizer.task.kind == "classify":
        sound, start = _cut_token(recognizer, waveform)
    recognition = recognizer.recognize_waveforms(
        torch.from_numpy(sound)[None].to(recognizer.device),
        torch.tensor([len(sound)], device=recognizer.device),
        embedding=(
            None
            if size is None or embeddings is None
            else Embeddings(embeddings, size).of([Path(path).stem])[None].to(recognizer.device)
        ),
    )
    log_posteriors = recognition.log_posteriors[0].cpu().numpy()
    if recognizer.task.kind == "classify":
        best = int(log_posteriors[0].argmax())
        end = min(start + recognizer.task.token_ms / 1000, duration)
        phoneme = recognizer.phonemes.decode([best])[0]
        confidence = float(np.exp(log_posteriors[0, best]))
        segments = [Segment(phoneme, max(start, 0.0), end, min(confidence, 1.0))]
    else:
        segments = decode_greedy(
            log_posteriors, recognizer.phonemes, recognizer.frame_seconds, duration
        )
    layer, experts = recognizer.routed_layer()
    weights = recognition.routing_of(layer).mean_weights().tolist()
    routing = dict(zip(experts, weights, strict=True))
    return Transcript(Path(path), duration, tuple(segments), routing)


def _cut_token(recognizer: Recognizer, waveform: Waveform) -> tuple[Waveform, float]:
    """The token around the steepest rise of energy, and where it starts in seconds."""
    front = recognizer.log_mel
    energy = front.mel_energies(torch.from_numpy(waveform)[None]).sum(dim=2)[0].numpy()
    level = 10 * np.log10(np.maximum(energy, energy.max() * 1e-6 + 1e-30))
    # The rise over 30 ms; silence before the file lets a file begin with its burst.
    before = np.concatenate([np.full(3, level.min()), level])[: len(level)]
    onset = int(np.argmax(level - before)) * front.hop
    first = onset - round(recognizer.task.onset_ms / 1000 * front.sample_rate)
    padded = np.pad(waveform, recognizer.token_samples)
    token = padded[first + recognizer.token_samples :][: recognizer.token_samples]
    return token, first / front.sample_rate


def find_audio(inputs: Iterable[Path]) -> list[Path]:
    """Files as they are, folders as the audio files in them.

    Args:
        inputs: Files and folders.

    Raises:
        InputError: A folder holds no audio file.
    """
    files = []
    for path in inputs:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(
            p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()
        )
        if not found:
            known = " ".join(sorted(AUDIO_SUFFIXES))
            raise InputError(f"{path}: the folder holds no audio file ({known})")
        files.extend(found)
    return files
