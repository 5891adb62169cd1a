"""Mutated audio files between two good ones, transcribed by a small model."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile

from tests.fuzz.harness import Command
from tests.fuzz.mutations import mutate

MODEL = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "gate.onnx"
FORMATS = (
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "PCM_24"),
    ("wav", "WAV", "DOUBLE"),
    ("wav", "WAV", "ULAW"),
    ("wav", "WAV", "IMA_ADPCM"),
    ("wav", "WAVEX", "FLOAT"),
    ("wav", "RF64", "PCM_16"),
    ("w64", "W64", "PCM_16"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("aiff", "AIFF", "PCM_16"),
    ("au", "AU", "ALAW"),
    ("sph", "NIST", "PCM_16"),
    ("caf", "CAF", "ALAC_16"),
)


class Audio:
    """Audio files of every format of libsndfile, mutated."""

    name = "audio"

    @cached_property
    def _files(self) -> list[tuple[str, bytes]]:
        noise = 0.1 * np.random.default_rng(0).standard_normal((12_000, 2)).astype(np.float32)
        files = []
        for suffix, container, coding in FORMATS:
            for channels in (1, 2):
                stream = io.BytesIO()
                rate = 48_000 if coding == "OPUS" else 16_000
                soundfile.write(stream, noise[:, :channels], rate, coding, format=container)
                files.append((suffix, stream.getvalue()))
        return files

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """Three files, of which the middle one is mutated."""
        chance = random.Random(number)
        suffix, content = chance.choice(self._files)
        good = chance.choice(self._files)
        for name in ("first", "last"):
            (folder / f"{name}.{good[0]}").write_bytes(good[1])
        (folder / f"mutated.{suffix}").write_bytes(mutate(content, chance))
        names = [f"first.{good[0]}", f"mutated.{suffix}", f"last.{good[0]}"]
        return [Command(["transcribe", str(MODEL), *names], good=[names[0], names[2]])]
