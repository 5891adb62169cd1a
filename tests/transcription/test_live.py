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

SAID = ["a", "s", "i", "m", "a", "i", "s", "a"]


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    samples, _ = tiny.speak(SAID, "ann", np.random.default_rng(3))
    return samples.astype(np.float32)


def heard(
    engine: RunEngine, sound: np.ndarray, sizes: list[int], pace: LiveSettings
) -> list[LivePhoneme]:
    listener, found, first = LiveRecognizer(engine, pace), [], 0
    for size in sizes:
        found += listener.feed(sound[first : first + size])
        first += size
    return [*found, *listener.feed(sound[first:]), *listener.finish()]


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(0, 3000), max_size=20),
    step=st.sampled_from([0.04, 0.16, 0.5]),
    look_ahead=st.sampled_from([0.0, 0.12, 0.32]),
)
def test_what_is_heard_does_not_depend_on_the_pieces(
    recognized: Trained, sound: np.ndarray, sizes: list[int], step: float, look_ahead: float
) -> None:
    engine, pace = RunEngine(recognized.run), LiveSettings(step, look_ahead)
    found = heard(engine, sound, sizes, pace)
    expected = simulate_live(engine, sound, pace)
    assert [(one.phoneme, one.time) for one in found] == [
        (phoneme, pytest.approx(at)) for phoneme, at in expected
    ]


def test_most_of_what_is_said_is_heard(recognized: Trained, sound: np.ndarray) -> None:
    found = heard(RunEngine(recognized.run), sound, [], LiveSettings())
    score = score_utterance(SAID, [one.phoneme for one in found])
    assert score.errors <= 2
    assert {one.expert for one in found} <= set(recognized.run.recognizer.expert_names)
    assert all(0 < one.confidence <= 1 for one in found)


def test_a_phoneme_comes_out_within_a_step_and_the_look_ahead(
    recognized: Trained, sound: np.ndarray
) -> None:
    pace = LiveSettings(0.2, 0.2)
    engine = RunEngine(recognized.run)
    listener, rate = LiveRecognizer(engine, pace), tiny.RATE
    frame = engine.spec.feature_seconds * engine.spec.stack
    found: list[LivePhoneme] = []
    for first in range(0, len(sound), 80):
        for one in listener.feed(sound[first : first + 80]):
            # Heard so far: and the half of a window that a frame reaches beyond its end.
            assert (first + 80) / rate - one.time <= pace.step + pace.look_ahead + 2 * frame
            found.append(one)
    assert found
    assert all(one.latency <= pace.step + pace.look_ahead + 1e-6 for one in found)


def test_memory_does_not_grow(recognized: Trained, sound: np.ndarray) -> None:
    listener = LiveRecognizer(RunEngine(recognized.run), LiveSettings(memory=1.0))
    sizes = []
    for _ in range(20):
        listener.feed(sound)
        sizes.append(len(listener._energies))
    assert max(sizes) < 300  # feature frames of 10 ms: a second, a step and what is ahead of it


def test_silence_and_nothing_are_nothing(recognized: Trained) -> None:
    engine = RunEngine(recognized.run)
    assert heard(engine, np.zeros(0, np.float32), [], LiveSettings()) == []
    assert simulate_live(engine, np.zeros(0, np.float32)) == []


def test_a_run_of_tokens_does_not_listen(classified: Trained) -> None:
    with pytest.raises(InputError, match="one token"):
        LiveRecognizer(RunEngine(classified.run))


def test_raw_samples_on_stdin(recognized: Trained, sound: np.ndarray, tmp_path: Path) -> None:
    raw = (sound * 32767).astype("<i2").tobytes()
    command = [sys.executable, "-m", "phoneme_moe", "listen", str(recognized.run.folder), "-"]
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
    assert "transcribe reads files" in outcome.err
