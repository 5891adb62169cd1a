"""Long recordings go through in windows, and come out as they would in one piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import Trained
from phoneme_moe.transcription import pieces, recording, transcribe, windowing
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.transcript import Transcript


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


def in_windows(
    monkeypatch: pytest.MonkeyPatch, engine: RunEngine, path: Path, window: float
) -> Transcript:
    monkeypatch.setattr(recording, "LONG_SECONDS", 1.0)
    monkeypatch.setattr(windowing, "BATCH_FRAMES", 100)
    monkeypatch.setattr(windowing, "WINDOW_SECONDS", window)
    return transcribe.transcribe_file(engine, path)


@pytest.mark.parametrize("window", [0.5, 3.0, 7.77])
def test_seams_change_nothing(
    recognized: Trained, minute: Path, window: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = RunEngine(recognized.run)
    assert engine.spec.context is not None
    whole = transcribe.transcribe_file(engine, minute)
    found = in_windows(monkeypatch, engine, minute, window)
    assert len(whole.segments) > 100
    assert found.phonemes == whole.phonemes
    assert found.silences == whole.silences
    for one, other in zip(found.segments, whole.segments, strict=True):
        assert one.start == pytest.approx(other.start, abs=1e-6)
        assert one.end == pytest.approx(other.end, abs=1e-6)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert one.experts == pytest.approx(other.experts, abs=1e-4)


def test_a_model_that_looked_less_far_would_notice(
    recognized: Trained, minute: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That the test above can fail: without the frames beside a window there are differences.
    engine = RunEngine(recognized.run)
    whole = transcribe.transcribe_file(engine, minute)
    object.__setattr__(engine.spec, "context", 0)
    found = in_windows(monkeypatch, engine, minute, 0.5)
    assert found.segments != whole.segments


def test_pieces_are_cut_where_nothing_is_said(
    recognized: Trained, minute: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = RunEngine(recognized.run)
    whole = transcribe.transcribe_file(engine, minute)
    monkeypatch.setattr(pieces, "PIECE_SECONDS", 4.0)
    assert transcribe.transcribe_file(engine, minute).phonemes == whole.phonemes


def test_a_long_file_that_is_cut_short_is_named(
    recognized: Trained, minute: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute.write_bytes(minute.read_bytes()[:-20_000])
    with pytest.raises(InputError, match=r"minute\.wav: truncated"):
        in_windows(monkeypatch, RunEngine(recognized.run), minute, 3.0)
