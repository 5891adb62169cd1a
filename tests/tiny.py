"""A tiny corpus of tones and noises, spoken by four speakers whose pitch differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

CORPUS = "tones"
RATE = 8_000
SPEAKERS = {"ann": 1.0, "bob": 0.8, "carol": 1.25, "dan": 1.1}
PHONEMES = ("a", "i", "m", "s")
RECIPES = Path(__file__).parent / "recipes"


def tone(frequency: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def sound_of(phoneme: str, speaker: str, seconds: float, random: np.random.Generator) -> np.ndarray:
    scale = SPEAKERS[speaker]
    if phoneme == "s":
        return 0.1 * np.diff(random.standard_normal(round(seconds * RATE) + 1))
    return sum(
        tone(frequency * scale, seconds)
        for frequency in {"a": (700, 1200), "i": (300, 2300), "m": (250,)}[phoneme]
    )


def speak(
    phonemes: list[str], speaker: str, random: np.random.Generator
) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """The sound, and each phoneme with its start and duration in seconds."""
    parts = [np.zeros(round(random.uniform(0.03, 0.1) * RATE))]
    times = []
    for phoneme in phonemes:
        sound = sound_of(phoneme, speaker, random.uniform(0.08, 0.14), random)
        start = sum(len(part) for part in parts) / RATE
        times.append((phoneme, start, len(sound) / RATE))
        parts += [sound, np.zeros(round(0.03 * RATE))]
    whole = np.concatenate(parts)
    return whole + 1e-3 * random.standard_normal(len(whole)), times


def write_tones(folder: Path, utterances: int = 30, symbols: dict[str, str] | None = None) -> Path:
    """Writes the corpus as a Lhotse manifest with WAV files beside it; gives the manifest.

    Args:
        folder: Where to.
        utterances: Of each speaker.
        symbols: Other names for some of the phonemes.
    """
    symbols = symbols or {}
    random = np.random.default_rng(7)
    cuts = []
    for speaker in SPEAKERS:
        for number in range(utterances):
            phonemes = [str(p) for p in random.choice(PHONEMES, size=random.integers(2, 5))]
            samples, times = speak(phonemes, speaker, random)
            name = f"{speaker}-{number:02}"
            soundfile.write(folder / f"{name}.wav", samples, RATE)
            recording = Recording.from_file(folder / f"{name}.wav")
            supervision = SupervisionSegment(
                id=name,
                recording_id=name,
                start=0,
                duration=recording.duration,
                speaker=speaker,
                gender="M" if speaker in {"bob", "dan"} else "F",
                alignment={
                    "phoneme": [AlignmentItem(symbols.get(p, p), *when) for p, *when in times]
                },
            )
            cuts.append(
                MonoCut(
                    id=name,
                    start=0,
                    duration=recording.duration,
                    channel=0,
                    recording=recording,
                    supervisions=[supervision],
                )
            )
    manifest = folder / "cuts.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(manifest)
    return manifest
