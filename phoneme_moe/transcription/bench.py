"""How fast a model transcribes on this machine, stage by stage."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from phoneme_moe.errors import InputError
from phoneme_moe.features.audio import Waveform, load_waveform
from phoneme_moe.transcription.model_spec import Engine
from phoneme_moe.transcription.pieces import build_transcript, decode
from phoneme_moe.transcription.recording import record
from phoneme_moe.transcription.transcribe import Failure, Options, transcribe_files
from phoneme_moe.transcription.windowing import BATCH_FRAMES, infer

COLD_SECONDS = 5.0
"""Length of the recording of the cold start."""


def bench(
    engine: Engine, files: Sequence[Path], beam: int | None = None, cold: bool = True
) -> dict[str, Any]:
    """Measures.

    Args:
        engine: The model; one that recognises utterances.
        files: Audio files; those that cannot be used are left out.
        beam: As in ``Options``.
        cold: Whether to start the command anew for one short file.

    Returns:
        Seconds of sound and of work by stage, times as fast as real time, memory.

    Raises:
        InputError: No file can be used, or the model names tokens.
    """
    if engine.spec.tokens:
        raise InputError(f"{engine.spec.source}: it names tokens; there is nothing to time")
    front_end = engine.spec.front_end()
    waveforms: list[Waveform] = []
    used: list[Path] = []
    began = time.perf_counter()
    for path in files:
        try:
            waveforms.append(load_waveform(path, front_end.sample_rate))
        except InputError:
            continue
        used.append(path)
    reading = time.perf_counter() - began
    if not used:
        raise InputError("bench: no audio file that can be used")
    seconds = sum(map(len, waveforms)) / front_end.sample_rate
    began = time.perf_counter()
    recordings = [
        record(waveform, path, front_end) for waveform, path in zip(waveforms, used, strict=True)
    ]
    features = time.perf_counter() - began
    recordings.sort(key=lambda recording: recording.num_frames)
    network = reading_off = 0.0
    batch: list[Any] = []
    for recording in [*recordings, None]:
        full = recording is None or (len(batch) + 1) * recording.num_frames > BATCH_FRAMES
        if batch and full:
            began = time.perf_counter()
            heard = infer(engine, batch, num_shifts=engine.spec.decoding.shifts_for(beam))
            network += time.perf_counter() - began
            began = time.perf_counter()
            for own, said, reading_of in zip(
                batch, heard, decode(heard, engine.spec, beam), strict=True
            ):
                build_transcript(own, said, reading_of, engine.spec)
            reading_off += time.perf_counter() - began
            batch = []
        batch.append(recording)
    began = time.perf_counter()
    done = list(transcribe_files(engine, used, Options(beam=beam)))
    together = time.perf_counter() - began
    assert not any(isinstance(found, Failure) for found in done)
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "files": len(used),
        "sound_seconds": seconds,
        "beam": engine.spec.decoding.beam_for(beam),
        "stages": {
            "read audio": reading,
            "features": features,
            "network": network,
            "decode": reading_off,
        },
        "all_seconds": together,
        "times_real_time": seconds / together,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if cold:
        found["cold_start_seconds"] = cold_start(Path(engine.spec.source), waveforms, front_end)
    return found


def cold_start(model: Path, waveforms: Sequence[Waveform], front_end: Any) -> float:
    """Seconds from nothing to the transcript of a file of five seconds; the second of two starts.

    Args:
        model: A run folder or an ONNX file.
        waveforms: What to cut the file from.
        front_end: Whose rate they have.
    """
    wanted = round(COLD_SECONDS * front_end.sample_rate)
    sound = np.concatenate([*waveforms[:50], np.zeros(wanted, np.float32)])[:wanted]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cold.wav"
        soundfile.write(path, sound, front_end.sample_rate)
        command = [sys.executable, "-m", "phoneme_moe", "transcribe", str(model), str(path)]
        for _ in range(2):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            taken = time.perf_counter() - began
    return taken
