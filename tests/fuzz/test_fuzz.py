"""A short form of ``python -m tests.fuzz``: a few cases of every kind."""

import subprocess
import sys
from pathlib import Path

import pytest
from waiting import communicate

from tests.fuzz.__main__ import KINDS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_input_gives_one_line(kind):
    # A process of its own: the harness forks, which a process with threads must not.
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz", kind, "--cases", "20"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        out, _ = communicate(process)
    assert process.returncode == 0, out
