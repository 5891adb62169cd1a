"""Recordings without sound, with an offset, very short, or whose channels cancel out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from phoneme_moe.audio.waveform import Samples
from phoneme_moe.errors import InputError
from phoneme_moe.run_folder import load_run
from phoneme_moe.transcription.align import align_phonemes
from phoneme_moe.transcription.live import LiveRecognizer
from phoneme_moe.transcription.model_spec import Engine
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.transcribe import Options, transcribe_file

if TYPE_CHECKING:
    from conftest import Outcome

    from phoneme_moe.pipeline import Trained

FOLDER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0"
RATE = 8000
SPEECH = soundfile.read(FOLDER / "carol.wav", dtype="float32")[0]
DITHER = np.random.default_rng(0).integers(-2, 3, RATE) / 32768


@pytest.fixture(scope="module", params=["gate", "sparse"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return RunEngine(load_run(FOLDER / request.param))


def phonemes(engine: Engine, samples: np.ndarray, beam: int | None = None) -> list[str]:
    audio = Samples(samples, RATE)
    return list(transcribe_file(engine, audio, Options(beam=beam)).phonemes)


@pytest.mark.parametrize("beam", [0, 4])
@pytest.mark.parametrize(
    "samples",
    [np.zeros(RATE), np.full(RATE, 0.3), np.full(RATE, -1.0), DITHER],
    ids=["zeros", "constant", "full scale", "dither"],
)
def test_without_sound_there_are_no_phonemes(
    engine: Engine, samples: np.ndarray, beam: int
) -> None:
    transcript = transcribe_file(engine, Samples(samples, RATE), Options(beam=beam))
    assert transcript.phonemes == ()
    assert transcript.silences == ((0.0, 1.0),)
    assert sum(transcript.routing.values()) == pytest.approx(1)


def test_what_is_quiet_is_not_silent(engine: Engine) -> None:
    assert phonemes(engine, SPEECH * 3e-4) == phonemes(engine, SPEECH)


@pytest.mark.parametrize("offset", [0.3, -0.5])
def test_an_offset_under_speech_makes_no_difference(engine: Engine, offset: float) -> None:
    assert phonemes(engine, 0.5 * SPEECH + offset) == phonemes(engine, SPEECH)


def test_clipping_is_transcribed(engine: Engine) -> None:
    assert phonemes(engine, np.clip(SPEECH * 20, -1, 1))


def test_the_shortest_recording(engine: Engine) -> None:
    phonemes(engine, SPEECH[2000 : 2000 + round(0.06 * RATE)])
    with pytest.raises(InputError, match=r"too short: found 0.020 s, expected at least 0.05 s"):
        phonemes(engine, SPEECH[: round(0.02 * RATE)])


def test_silence_cannot_be_aligned(engine: Engine) -> None:
    with pytest.raises(InputError, match="quiet: silent, expected speech to align"):
        align_phonemes(engine, Samples(np.zeros(RATE), RATE, name="quiet"), ["a"])


def test_in_silence_there_is_no_token(classified: Trained) -> None:
    transcript = transcribe_file(RunEngine(classified.run), Samples(np.zeros(RATE), RATE))
    assert transcript.phonemes == ()
    assert transcript.silences == ((0.0, 1.0),)


@pytest.mark.parametrize("size", [80, 1000, RATE])
def test_live_silence_is_silent_and_speech_after_it_is_heard(engine: Engine, size: int) -> None:
    def live(samples: np.ndarray) -> list[str]:
        recognizer = LiveRecognizer(engine)
        pieces = np.split(samples, range(size, len(samples), size))
        found = [phoneme for piece in pieces for phoneme in recognizer.feed(piece)]
        return [live.phoneme for live in [*found, *recognizer.finish()]]

    assert live(np.zeros(2 * RATE, np.float32)) == []
    assert live(np.concatenate([np.zeros(RATE, np.float32), SPEECH]))


@pytest.mark.slow
def test_listen_takes_a_channel_of_two_that_cancel_out() -> None:
    command = [sys.executable, "-m", "phoneme_moe", "listen", str(FOLDER / "gate"), "-"]
    command += ["--rate", str(RATE), "--sample-format", "f32le"]
    mono = subprocess.run(command, input=SPEECH.tobytes(), capture_output=True)
    stereo = np.stack([SPEECH, -SPEECH], 1)
    both = subprocess.run(
        [*command, "--channels", "2"], input=stereo.tobytes(), capture_output=True
    )
    assert mono.stdout == both.stdout
    assert mono.stdout
    assert b"phoneme-moe: stdin: its channels cancel out; channel 1" in both.stderr


def test_align_says_which_channel_it_took(
    phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "call.wav", np.stack([SPEECH, -SPEECH], 1), RATE)
    outcome = phoneme_moe(
        "align", FOLDER / "gate", tmp_path / "call.wav", "--phonemes", "a s i m a"
    )
    assert outcome.code == 0
    assert outcome.err == (
        f"phoneme-moe: {tmp_path}/call.wav: its channels cancel out; channel 1, the loudest, is "
        "used\n"
    )
