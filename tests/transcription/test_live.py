"""Recognising while somebody speaks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import exit_code

from phoneme_moe.decoding.scoring import score_utterance
from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import Trained
from phoneme_moe.transcription.live import LivePhoneme, LiveRecognizer, LiveSettings, simulate_live
from phoneme_moe.transcription.run_engine import RunEngine

if TYPE_CHECKING:
    from conftest import Outcome

SPOKEN = ["a", "s", "i", "m", "a", "i", "s", "a"]


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    samples, _ = tiny.speak(SPOKEN, "ann", np.random.default_rng(3))
    return samples.astype(np.float32)


def recognize_in_chunks(
    engine: RunEngine, sound: np.ndarray, sizes: list[int], live_settings: LiveSettings
) -> list[LivePhoneme]:
    recognizer, recognised, first = LiveRecognizer(engine, live_settings), [], 0
    for size in sizes:
        recognised += recognizer.feed(sound[first : first + size])
        first += size
    return [*recognised, *recognizer.feed(sound[first:]), *recognizer.finish()]


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(0, 3000), max_size=20),
    step=st.sampled_from([0.04, 0.16, 0.5]),
    look_ahead=st.sampled_from([0.0, 0.12, 0.32]),
)
def test_the_result_does_not_depend_on_the_chunks(
    recognized: Trained, sound: np.ndarray, sizes: list[int], step: float, look_ahead: float
) -> None:
    engine, live_settings = RunEngine(recognized.run), LiveSettings(step, look_ahead)
    recognised = recognize_in_chunks(engine, sound, sizes, live_settings)
    expected = simulate_live(engine, sound, live_settings)
    assert [(live.phoneme, live.time) for live in recognised] == [
        (phoneme, pytest.approx(at)) for phoneme, at in expected
    ]


def test_most_phonemes_are_recognised(recognized: Trained, sound: np.ndarray) -> None:
    recognised = recognize_in_chunks(RunEngine(recognized.run), sound, [], LiveSettings())
    score = score_utterance(SPOKEN, [live.phoneme for live in recognised])
    assert score.errors <= 2
    assert {live.expert for live in recognised} <= set(recognized.run.recognizer.expert_names)
    assert all(0 < live.confidence <= 1 for live in recognised)


def test_a_phoneme_comes_out_within_a_step_and_the_look_ahead(
    recognized: Trained, sound: np.ndarray
) -> None:
    live_settings = LiveSettings(0.2, 0.2)
    engine = RunEngine(recognized.run)
    recognizer, rate = LiveRecognizer(engine, live_settings), tiny.RATE
    frame = engine.spec.feature_seconds * engine.spec.stack
    recognised: list[LivePhoneme] = []
    for first in range(0, len(sound), 80):
        for live in recognizer.feed(sound[first : first + 80]):
            # Heard so far: and the half of a window that a frame reaches beyond its end.
            assert (
                first + 80
            ) / rate - live.time <= live_settings.step + live_settings.look_ahead + 2 * frame
            recognised.append(live)
    assert recognised
    assert all(
        live.latency <= live_settings.step + live_settings.look_ahead + 1e-6 for live in recognised
    )


def test_memory_does_not_grow(recognized: Trained, sound: np.ndarray) -> None:
    recognizer = LiveRecognizer(RunEngine(recognized.run), LiveSettings(memory=1.0))
    sizes = []
    for _ in range(20):
        recognizer.feed(sound)
        sizes.append(len(recognizer._energies))
    assert max(sizes) < 300  # feature frames of 10 ms: a second, a step and what is ahead of it


def test_silence_and_nothing_are_nothing(recognized: Trained) -> None:
    engine = RunEngine(recognized.run)
    assert recognize_in_chunks(engine, np.zeros(0, np.float32), [], LiveSettings()) == []
    assert simulate_live(engine, np.zeros(0, np.float32)) == []


def test_a_token_classifier_is_refused(classified: Trained) -> None:
    with pytest.raises(InputError, match="one token"):
        LiveRecognizer(RunEngine(classified.run))


def test_raw_samples_on_stdin(recognized: Trained, sound: np.ndarray, tmp_path: Path) -> None:
    raw = (sound * 32767).astype("<i2").tobytes()
    command = [sys.executable, "-m", "phoneme_moe", "listen", str(recognized.run.folder), "-"]
    command += ["--rate", str(tiny.RATE)]
    done = subprocess.run([*command, "--format", "jsonl"], input=raw, capture_output=True)
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    quantized = np.frombuffer(raw, "<i2").astype(np.float32) / 32768
    expected = simulate_live(RunEngine(recognized.run), quantized)
    assert [line["phoneme"] for line in lines] == [phoneme for phoneme, _ in expected]
    assert b"a step took" in done.stderr
    plain = subprocess.run(
        [*command, "--sample-format", "f32le"], input=sound.tobytes(), capture_output=True
    )
    assert len(plain.stdout.splitlines()) == pytest.approx(len(lines), abs=2)
    odd = subprocess.run(command, input=raw[:-1], capture_output=True)
    assert odd.returncode == 1
    assert b"within a sample" in odd.stderr


def test_phonemes_come_while_the_sound_still_flows(recognized: Trained, sound: np.ndarray) -> None:
    command = [sys.executable, "-m", "phoneme_moe", "listen", str(recognized.run.folder), "-"]
    command += ["--rate", str(tiny.RATE)]
    raw = (sound * 32767).astype("<i2").tobytes()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(raw)
        process.stdin.flush()
        first = process.stdout.readline()  # stdin is still open
        assert first.split()[1].decode() in tiny.PHONEMES
        process.stdin.close()
        assert exit_code(process) == 0


def test_what_is_no_source_is_refused(
    recognized: Trained, phoneme_moe: Callable[..., Outcome]
) -> None:
    outcome = phoneme_moe("listen", recognized.run.folder, "file.wav")
    assert outcome.code == 1
    assert "use transcribe for files" in outcome.err
