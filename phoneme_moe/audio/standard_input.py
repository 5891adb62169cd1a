"""Audio on standard input, which is copied to a temporary file: decoders go back and forth."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from contextlib import ExitStack

from phoneme_moe.errors import InputError

LIMIT_VARIABLE = "PHONEME_MOE_STDIN_MB"
"""Environment variable with the most megabytes that are read from standard input."""

DEFAULT_LIMIT_MB = 4096


@functools.cache
def standard_input() -> str:
    """The path of a file with the content of standard input, which can be read only once.

    Raises:
        InputError: There is more than ``LIMIT_VARIABLE`` allows, or the limit is not a number.
    """
    limit = _limit_mb()
    # Needed until the process ends, so not in a with block.
    file = _OPEN.enter_context(tempfile.NamedTemporaryFile(prefix=_PREFIX))  # noqa: SIM115
    source, total = sys.stdin.buffer, 0
    while data := source.read(1 << 20):
        total += len(data)
        if total > limit << 20:
            raise InputError(
                f"-: standard input has more than {limit} MB; expected less, or a larger limit in "
                f"the environment variable {LIMIT_VARIABLE}"
            )
        file.write(data)
    file.flush()
    return file.name


_PREFIX = "phoneme-moe-stdin-"

_OPEN = ExitStack()
"""Keeps the file for as long as the process lives."""


def _limit_mb() -> int:
    text = os.environ.get(LIMIT_VARIABLE, "")
    if not text:
        return DEFAULT_LIMIT_MB
    if not text.isdigit():
        raise InputError(f"{LIMIT_VARIABLE}: found {text!r}, expected a number of megabytes")
    return int(text)
