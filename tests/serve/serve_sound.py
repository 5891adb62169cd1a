"""Sound of the tiny corpus as files in memory."""

from __future__ import annotations

import io

import numpy as np
import soundfile
import tiny


def wav(phonemes: list[str], speaker: str = "ann", seed: int = 3) -> bytes:
    """A WAV file of phonemes."""
    samples, _ = tiny.speak(phonemes, speaker, np.random.default_rng(seed))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, tiny.RATE, format="WAV")
    return buffer.getvalue()
