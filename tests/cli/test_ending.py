"""Whatever ends a command: one line, and a status that says why."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny
from waiting import communicate, run, wait_until

from phoneme_moe.cli.ending import command_to_go_on, end_in_order
from phoneme_moe.errors import InputError
from phoneme_moe.files.atomic import atomic_folder
from phoneme_moe.files.locks import lock_folder

if TYPE_CHECKING:
    from conftest import Outcome

    from phoneme_moe.corpora import PreparedCorpus
    from phoneme_moe.pipeline import Trained

needs_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has fewer signals")


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code that ends in ``end_in_order``."""
    head = "import os, signal, sys, time; from phoneme_moe.cli.ending import *\n"
    return run([sys.executable, "-c", head + code, "evaluate", "a run"])


@needs_unix
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_signal_gives_the_command_that_goes_on(name: str, times: int) -> None:
    done = python(
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        # A process that nohup started ignores it.
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "def command():\n"
        "    try:\n"
        f"        os.kill(os.getpid(), signal.{name})\n"
        "    finally:\n"
        f"        for _ in range({times - 1}): os.kill(os.getpid(), signal.{name})\n"
        "        print('cleaned up')\n"
        "sys.exit(end_in_order(command))"
    )
    assert done.returncode == 128 + getattr(signal, name)
    assert done.stdout == "cleaned up\n"
    assert done.stderr == f"interrupted by {name}; go on with: phoneme-moe evaluate 'a run'\n"


@needs_unix
@pytest.mark.slow
def test_a_signal_that_a_library_swallows_ends_the_command_all_the_same() -> None:
    done = python(
        "import phoneme_moe.cli.ending as ending\n"
        "ending.CLEANING_SECONDS = 1\n"
        "def command():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    except BaseException:\n"
        "        while True: time.sleep(0.01)\n"
        "sys.exit(end_in_order(command))"
    )
    assert done.returncode == 143
    assert done.stderr.splitlines() == [
        "interrupted by SIGTERM; go on with: phoneme-moe evaluate 'a run'"
    ]


@needs_unix
@pytest.mark.slow
def test_what_nohup_has_shut_out_stays_out() -> None:
    done = python(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "sys.exit(end_in_order(lambda: os.kill(os.getpid(), signal.SIGHUP)))"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    assert end_in_order(lambda: None) == 0
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before


@pytest.mark.parametrize(
    ("arguments", "goes_on"),
    [
        ("train a --out b", "train a --out b --resume"),
        ("train a --resume", "train a --resume"),
        ("grow a --experts 2", "grow a --experts 2"),
        ("transcribe a b --out=c", "transcribe a b --out=c --skip-done"),
        ("transcribe a b", "transcribe a b"),
    ],
)
def test_the_command_that_goes_on(arguments: str, goes_on: str) -> None:
    assert command_to_go_on(["x.py", *arguments.split()]) == f"phoneme-moe {goes_on}"


def _wrapped() -> None:
    try:
        raise OSError(errno.ENOSPC, "No space left on device", "a.ckpt")
    except OSError:
        raise RuntimeError("[enforce fail] PytorchStreamWriter failed writing file") from None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a.wav: not audio"), "a.wav: not audio"),
        (OSError(errno.EROFS, "Read-only file system", "a/b"), "a/b: Read-only file system"),
        (OSError(errno.ENOSPC, "No space left on device"), "output: No space left on device"),
        (
            ImportError("libx.so: cannot open shared object file: Too many open files"),
            "output: Too many open files",
        ),
        (MemoryError(), "not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
            "not enough memory",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    assert end_in_order(command) == 1
    assert capsys.readouterr().err == f"phoneme-moe: {line}\n"


def test_an_error_of_the_system_is_found_behind_that_of_a_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert end_in_order(_wrapped) == 1
    assert capsys.readouterr().err == "phoneme-moe: a.ckpt: No space left on device\n"


def test_a_mistake_in_the_program_is_no_line() -> None:
    def command() -> None:
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        end_in_order(command)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["corpora", "list"], ["model", "RUN"], ["evaluate", "RUN"]])
def test_output_to_a_full_disk_fails(recognized: Trained, arguments: list[str]) -> None:
    run_folder = str(recognized.run.folder)
    command = [run_folder if argument == "RUN" else argument for argument in arguments]
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(
            [sys.executable, "-m", "phoneme_moe", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        _, err = communicate(process)
    assert (process.returncode, err) == (1, "phoneme-moe: output: No space left on device\n")


@pytest.mark.slow
def test_two_trainings_never_share_a_folder(
    phoneme_moe: Callable[..., Outcome], tones: PreparedCorpus, tmp_path: Path
) -> None:
    recipe = tiny.RECIPES / "tiny_classify.yaml"
    arguments = ["train", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-m", "phoneme_moe", *arguments])
    wait_until((tmp_path / "run" / "recipe.yaml").exists, process)
    second = phoneme_moe(*arguments, "--resume")
    assert second.code == 1
    assert second.err == (
        f"phoneme-moe: {tmp_path / 'run'}: another process ({process.pid}) is writing this folder; "
        "wait until it ends, or choose another folder\n"
    )
    communicate(process)
    assert process.returncode == 0


@pytest.mark.parametrize("command", ["report", "adapt", "clips"])
@pytest.mark.slow
def test_a_folder_that_is_being_written_is_left_alone(
    phoneme_moe: Callable[..., Outcome],
    recognized: Trained,
    tmp_path: Path,
    command: str,
) -> None:
    out, dan = tmp_path / "out", tmp_path / "dan"
    run_folder = recognized.run.folder
    arguments = {
        "report": ["report", run_folder, "--out", out],
        "adapt": ["adapt", run_folder, dan, "--speaker", "dan", "--out", out],
        "clips": ["clips", run_folder, "--out", out],
    }[command]
    with lock_folder(out) if command == "report" else atomic_folder(out, lambda _: None):
        outcome = phoneme_moe(*arguments)
    assert outcome.code == 1
    assert outcome.err.startswith(f"phoneme-moe: {out}: another process ({os.getpid()})")
    assert len(outcome.err.splitlines()) == 1
