"""A short form of ``python -m tests.crash``: a few moments of every command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from waiting import communicate

from tests.crash.cases import COMMANDS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("commands", [COMMANDS[:1], COMMANDS[1:]], ids=["train", "others"])
def test_what_is_ended_at_any_moment_goes_on_to_the_same_bytes(commands: tuple[str, ...]) -> None:
    # A process of its own: the harness forks, which a process with threads must not.
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash", *commands, "--moments", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        out, _ = communicate(process)
    assert process.returncode == 0, out
