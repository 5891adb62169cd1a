"""No command needs what only Unix has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

import phoneme_moe

SCRIPT = Path(__file__).with_name("without_posix.py")


def as_on_windows(*commands: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    words = [word for command in commands for word in ("--", *command)]
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_the_script_takes_away_what_windows_lacks() -> None:
    code = (
        "import runpy, sys; sys.argv = ['without_posix.py']\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "import types; module = types.ModuleType('phoneme_moe.x')\n"
        "for line in ('import os; os.fork', 'import resource', 'from os import pread',\n"
        "             'import signal; signal.SIGHUP'):\n"
        "    try: exec(line, module.__dict__)\n"
        "    except (AttributeError, ImportError): print('missing')\n"
        "exec('import os; os.getpid()', module.__dict__); import resource\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("missing\n" * 4, "")


def test_no_path_of_a_unix_system_is_built_in() -> None:
    root = Path(phoneme_moe.__file__).parent
    found = [
        (path.name, text)
        for path in root.rglob("*.py")
        for text in re.findall(
            r"""["'](/(?:dev|proc|sys|tmp|etc|usr|var)/[^"']*)""", path.read_text()
        )
    ]
    # Where these files are missing, there are no control groups.
    assert sorted(found) == [("cores.py", "/proc/self/cgroup"), ("cores.py", "/sys/fs/cgroup")]


@pytest.mark.slow
def test_every_step_from_a_corpus_to_a_transcript(tmp_path: Path) -> None:
    source = tiny.write_tones(tmp_path, utterances=12)
    samples, _ = tiny.speak(["a", "s", "i", "m"] * 8, "ann", np.random.default_rng(5))
    (tmp_path / "talks").mkdir()
    soundfile.write(tmp_path / "talks" / "a.wav", samples, tiny.RATE)
    long = np.tile(samples, 1 + 130 * tiny.RATE // len(samples))  # its features go to a file
    soundfile.write(tmp_path / "talks" / "long.wav", long, tiny.RATE)
    recipe, run = str(tiny.RECIPES / "tiny_recognize.yaml"), str(tmp_path / "run")
    talks, out, model = str(tmp_path / "talks"), str(tmp_path / "out"), str(tmp_path / "m.onnx")
    transcribe = ["transcribe", run, talks, "--out", out]
    done = as_on_windows(
        ["corpora", "prepare", "lhotse", "--from", str(source), "--as", tiny.CORPUS],
        ["corpora", "check", tiny.CORPUS],
        ["train", recipe, "--out", run],
        ["train", recipe, "--out", run, "--resume"],
        transcribe,
        [*transcribe, "--format", "all", "--skip-done"],
        ["bench", run, talks],
        ["export", run, "--onnx", model],
        ["transcribe", model, talks],
        ["clips", run, "--limit", "5"],
        PHONEME_MOE_DATA=str(tmp_path / "data"),
    )
    assert (done.returncode, done.stderr) == (0, "0 of 2 already done\n")
    assert "not measured" in done.stdout  # memory
    assert len(list(Path(out).glob("*.txt"))) == 2
