"""Speed of transcription on this machine, stage by stage."""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import soundfile
from pydantic import ConfigDict, Field

from phoneme_moe.audio.waveform import Waveform, load_waveform, read_info
from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import Document
from phoneme_moe.system.cores import usable_cores
from phoneme_moe.transcription.model_spec import Engine, Floats
from phoneme_moe.transcription.pieces import decode
from phoneme_moe.transcription.recording import EncodingFrontEnd, Recording, record
from phoneme_moe.transcription.segment_times import build_transcript
from phoneme_moe.transcription.transcribe import Failure, Options, transcribe_files
from phoneme_moe.transcription.windowing import BATCH_FRAMES, infer

COLD_START_SECONDS = 5.0
"""Length of the recording used to measure the cold start."""

Stage = Literal["read audio", "features", "network", "decode"]


class Speed(Document):
    """How fast a model transcribes on one machine, as ``phoneme-moe bench`` measured it."""

    model_config = ConfigDict(title="speed.json of a run")

    machine: str
    files: int = Field(ge=1)
    sound_seconds: float = Field(ge=0, description="Total length of the recordings.")
    beam: int | None = Field(ge=1, description="Beam width; null for greedy decoding.")
    stages: dict[Stage, float] = Field(description="Seconds per stage, run one after the other.")
    all_seconds: float = Field(ge=0, description="Seconds for all stages, overlapped.")
    times_real_time: float = Field(ge=0, description="sound_seconds / all_seconds.")
    memory_mb: Annotated[float, Field(ge=0)] | None = Field(
        description="Peak resident memory of the process; null on Windows."
    )
    cold_start_seconds: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="From starting the command to the transcript of a 5 s file."
    )


def bench(
    engine: Engine, files: Sequence[Path], beam: int | None = None, cold: bool = True
) -> Speed:
    """Measures the speed of transcription.

    Args:
        engine: Inference engine of a model that recognises utterances.
        files: Audio files; unusable ones are skipped.
        beam: As in ``Options``.
        cold: Whether to measure a cold start of the command, too.

    Raises:
        InputError: No file is usable, or the model classifies tokens.
    """
    if engine.spec.tokens:
        raise InputError(
            f"{engine.spec.source}: the model classifies single tokens; expected a run that "
            "recognises utterances (task.kind: recognize)"
        )
    front_end = engine.spec.front_end()
    encoding = _Encoding(front_end) if isinstance(front_end, EncodingFrontEnd) else None
    waveforms: list[Waveform] = []
    used: list[Path] = []
    with suppress(InputError):  # starts a worker, once for all files
        read_info(files[0])
    began = time.perf_counter()
    for path in files:
        try:
            waveforms.append(load_waveform(path, front_end.sample_rate))
        except InputError:
            continue
        used.append(path)
    read_seconds = time.perf_counter() - began
    if not used:
        raise InputError(f"none of the {len(files)} audio files is usable")
    sound_seconds = sum(map(len, waveforms)) / front_end.sample_rate
    began = time.perf_counter()
    recordings = [
        record(waveform, path, front_end) for waveform, path in zip(waveforms, used, strict=True)
    ]
    feature_seconds = time.perf_counter() - began
    network_seconds = decode_seconds = 0.0
    num_shifts = engine.spec.decoding.shifts_for(beam)
    for batch in _batches(recordings):
        began = time.perf_counter()
        model_outputs = infer(engine, batch, num_shifts=num_shifts)
        network_seconds += time.perf_counter() - began
        began = time.perf_counter()
        hypotheses = decode(model_outputs, engine.spec, beam)
        for parts in zip(batch, model_outputs, hypotheses, strict=True):
            build_transcript(*parts, engine.spec)
        decode_seconds += time.perf_counter() - began
    if encoding is not None:
        # Hidden states are computed when the network needs them.
        feature_seconds += encoding.seconds
        network_seconds -= encoding.seconds
    began = time.perf_counter()
    results = list(transcribe_files(engine, used, Options(beam=beam)))
    all_seconds = time.perf_counter() - began
    assert not any(isinstance(result, Failure) for result in results)
    return Speed(
        machine=f"{platform.machine()}, {usable_cores()}",
        files=len(used),
        sound_seconds=sound_seconds,
        beam=engine.spec.decoding.beam_for(beam),
        stages={
            "read audio": read_seconds,
            "features": feature_seconds,
            "network": network_seconds,
            "decode": decode_seconds,
        },
        all_seconds=all_seconds,
        times_real_time=sound_seconds / all_seconds,
        memory_mb=_peak_memory_mb(),
        cold_start_seconds=(
            _cold_start(Path(engine.spec.source), waveforms, front_end.sample_rate)
            if cold
            else None
        ),
    )


class _Encoding:
    """Counts the seconds that a pretrained encoder takes, without those of loading it."""

    def __init__(self, front_end: EncodingFrontEnd) -> None:
        self.seconds = 0.0
        self._encode = front_end.encode
        self._encode(np.zeros(front_end.sample_rate, np.float32))  # loads it
        front_end.encode = self

    def __call__(self, waveform: Waveform) -> Floats:
        began = time.perf_counter()
        features = self._encode(waveform)
        self.seconds += time.perf_counter() - began
        return features


def _peak_memory_mb() -> float | None:
    try:
        import resource
    except ImportError:
        return None  # Windows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024


def _batches(recordings: Sequence[Recording]) -> Iterator[list[Recording]]:
    """Batches of recordings in order of length, filled up to the limit of frames."""
    batch: list[Recording] = []
    for recording in sorted(recordings, key=lambda recording: recording.num_frames):
        if batch and (len(batch) + 1) * recording.num_frames > BATCH_FRAMES:
            yield batch
            batch = []
        batch.append(recording)
    if batch:
        yield batch


def _cold_start(model: Path, waveforms: Sequence[Waveform], sample_rate: int) -> float:
    """Seconds from starting the command to the transcript, in the second of two starts.

    Args:
        model: A run folder or an ONNX file.
        waveforms: Sound from which the file of ``COLD_START_SECONDS`` is made.
        sample_rate: Sample rate of the waveforms in Hz.
    """
    length = round(COLD_START_SECONDS * sample_rate)
    sound = np.concatenate([*waveforms[:50], np.zeros(length, np.float32)])[:length]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cold.wav"
        soundfile.write(path, sound, sample_rate)
        command = [sys.executable, "-m", "phoneme_moe", "transcribe", str(model), str(path)]
        for _ in range(2):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds = time.perf_counter() - began
    return seconds
