"""Long recordings in windows give the transcript of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import Trained
from phoneme_moe.transcription.pieces import PIECE_SECONDS, decode
from phoneme_moe.transcription.recording import read_recording
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.segment_times import build_transcript
from phoneme_moe.transcription.transcribe import transcribe_file
from phoneme_moe.transcription.transcript import Transcript
from phoneme_moe.transcription.windowing import infer


@pytest.fixture
def minute(tmp_path: Path) -> Path:
    """A minute of ann and bob in turn, with pauses."""
    random = np.random.default_rng(5)
    parts = []
    while sum(map(len, parts)) < 60 * tiny.RATE:
        speaker = ("ann", "bob")[len(parts) % 2]
        phonemes = [str(p) for p in random.choice(tiny.PHONEMES, size=6)]
        parts.append(tiny.speak(phonemes, speaker, random)[0])
        parts.append(1e-3 * random.standard_normal(random.integers(100, 6000)))
    path = tmp_path / "minute.wav"
    soundfile.write(path, np.concatenate(parts), tiny.RATE)
    return path


def transcribe_in_parts(
    engine: RunEngine, path: Path, window: float = 30.0, piece: float = PIECE_SECONDS
) -> Transcript:
    recording = read_recording(path, engine.spec.front_end(), long_seconds=1.0)
    outputs = infer(engine, [recording], batch_frames=100, window_seconds=window)
    (hypothesis,) = decode(outputs, engine.spec, piece_seconds=piece)
    return build_transcript(recording, outputs[0], hypothesis, engine.spec)


@pytest.mark.parametrize("window", [0.5, 3.0, 7.77])
def test_seams_change_nothing(recognized: Trained, minute: Path, window: float) -> None:
    engine = RunEngine(recognized.run)
    assert engine.spec.context is not None
    whole = transcribe_file(engine, minute)
    transcript = transcribe_in_parts(engine, minute, window)
    assert len(whole.segments) > 100
    assert transcript.phonemes == whole.phonemes
    assert transcript.silences == whole.silences
    for segment, reference in zip(transcript.segments, whole.segments, strict=True):
        assert segment.start == pytest.approx(reference.start, abs=1e-6)
        assert segment.end == pytest.approx(reference.end, abs=1e-6)
        assert segment.confidence == pytest.approx(reference.confidence, abs=1e-4)
        assert segment.experts == pytest.approx(reference.experts, abs=1e-4)


def test_a_smaller_receptive_field_would_be_noticed(recognized: Trained, minute: Path) -> None:
    # The test above can fail: without context on either side of a window there are differences.
    engine = RunEngine(recognized.run)
    whole = transcribe_file(engine, minute)
    object.__setattr__(engine.spec, "context", 0)
    transcript = transcribe_in_parts(engine, minute, 0.5)
    assert transcript.segments != whole.segments


def test_pieces_are_cut_at_blanks(recognized: Trained, minute: Path) -> None:
    engine = RunEngine(recognized.run)
    whole = transcribe_file(engine, minute)
    assert transcribe_in_parts(engine, minute, piece=4.0).phonemes == whole.phonemes


def test_a_long_file_that_is_cut_short_is_named(recognized: Trained, minute: Path) -> None:
    minute.write_bytes(minute.read_bytes()[:-20_000])
    with pytest.raises(InputError, match=r"minute\.wav: truncated"):
        transcribe_in_parts(RunEngine(recognized.run), minute, 3.0)
