"""Standard error holds the lines of the commands, not those of libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from phoneme_moe.pipeline import Trained

WARNINGS = """
import logging, sys, warnings
import phoneme_moe.cli.chatter as chatter
chatter.silence_libraries()
class Own(UserWarning): __module__ = "phoneme_moe.audio"
logging.warning("root"); logging.getLogger("library").error("library")
warnings.warn("of a library", RuntimeWarning)
warnings.warn("a\\x1b.wav: left\\nchannel", Own)
"""

NOWHERE = "/proc/nowhere"
"""A folder that even an administrator cannot make."""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_only_warnings_of_the_package_are_shown() -> None:
    assert python("-c", WARNINGS).stderr == "phoneme-moe: a\\x1b.wav: left\\nchannel\n"


@pytest.mark.parametrize("how", ["option", "variable"])
def test_the_user_can_ask_for_all_warnings(how: str) -> None:
    done = (
        python("-W", "default", "-c", WARNINGS)
        if how == "option"
        else python("-c", WARNINGS, PYTHONWARNINGS="default")
    )
    assert "RuntimeWarning: of a library" in done.stderr
    assert "phoneme-moe: a" in done.stderr


def test_no_usage_data_is_sent() -> None:
    code = "import phoneme_moe, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout.strip() == b"1"


@pytest.mark.slow
def test_a_home_that_does_not_exist_is_no_reason_to_complain(
    recognized: Trained, tmp_path: Path
) -> None:
    run, model, recording = str(recognized.run.folder), tmp_path / "m.onnx", tmp_path / "a.wav"
    samples, _ = tiny.speak(["a", "s", "i"], "ann", np.random.default_rng(5))
    soundfile.write(recording, samples, tiny.RATE)
    recipe = str(tiny.RECIPES / "tiny_classify.yaml")
    homes = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")
    for arguments in (
        ["train", recipe, "--out", str(tmp_path / "run")],
        ["report", run, "--out", str(tmp_path / "report")],
        ["corpora", "check", tiny.CORPUS],
        ["export", run, "--onnx", str(model)],
        ["transcribe", str(model), str(recording)],
    ):
        done = python("-m", "phoneme_moe", *arguments, **dict.fromkeys(homes, NOWHERE))
        assert (arguments, done.returncode, done.stderr) == (arguments, 0, "")
