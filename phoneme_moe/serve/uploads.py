"""Recordings in requests: read within bounds, decoded in worker processes, never on a user's path.

A request is either a form whose field ``file`` is the recording, or the recording itself.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import numpy as np
from starlette.datastructures import UploadFile
from starlette.requests import Request

from phoneme_moe.audio.waveform import Samples, waveform_blocks
from phoneme_moe.errors import InputError

LONGEST_NAME = 120
"""Longest name of a recording, in characters."""

BLOCK_SECONDS = 60.0
"""Length of the blocks in which long recordings are decoded."""


class TooLongError(InputError):
    """A recording is longer than the server takes."""


async def read_upload(request: Request, name: str | None = None) -> tuple[bytes, str]:
    """The recording of a request and its name.

    Args:
        request: The request; the size of its body is bounded before (``protection``).
        name: Name of a recording that is the body itself.

    Raises:
        InputError: There is none, or it is empty.
    """
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        form = await request.form()
        file = form.get("file")
        if not isinstance(file, UploadFile):
            fields = ", ".join(sorted({key for key, _ in form.multi_items()})) or "none"
            raise InputError(f"file: found the fields {fields}, expected an audio file in file")
        content, name = await file.read(), file.filename or name
    else:
        content = await request.body()
    name = plain_name(name)
    if not content:
        raise InputError(f"{name}: empty, expected an audio file")
    return content, name


def plain_name(name: str | None) -> str:
    """A file name as it may appear in results: without folders and control characters."""
    last = PurePosixPath((name or "").replace("\\", "/")).name
    printable = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "", last).strip()
    return printable[-LONGEST_NAME:] or "recording"


def decode_upload(
    content: bytes, name: str, sample_rate: int, max_seconds: float, channel: int | None = None
) -> Samples:
    """Decodes a recording.

    Args:
        content: An audio file of any format that ``transcribe`` takes.
        name: Its name, for results and messages.
        sample_rate: Samples per second to convert to.
        max_seconds: Longest recording.
        channel: Channel number, from 1; the mean of all channels by default.

    Raises:
        InputError: It is not usable audio.
        TooLongError: It is longer than ``max_seconds``.
    """
    blocks, most = [], round(max_seconds * sample_rate)
    for block in waveform_blocks(content, sample_rate, channel, BLOCK_SECONDS, name):
        blocks.append(block)
        most -= len(block)
        if most < 0:
            raise TooLongError(f"{name}: longer than {max_seconds:g} s")
    return Samples(np.concatenate(blocks), sample_rate, name)


def seconds_of(samples: Samples) -> float:
    """Length of samples of one channel, in seconds."""
    return len(np.asarray(samples.samples)) / samples.sample_rate
