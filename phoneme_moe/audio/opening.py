"""Opening a file with the decoder for its format."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.audio.formats import HEAD_BYTES, Format, sniff
from phoneme_moe.audio.headers import check_sample_rate
from phoneme_moe.errors import InputError

Waveform = NDArray[np.float32]


class Stream(Protocol):
    """An open file of any format."""

    format: str
    sample_rate: int
    num_channels: int

    @property
    def num_samples(self) -> int | None:
        """Length in samples, if the header can be believed."""
        ...

    def skip(self, samples: int) -> None:
        """Goes to a sample."""
        ...

    def read(self, samples: int) -> Waveform:
        """Reads up to that many samples, shape (samples, channels); none at the end."""
        ...

    def check_length(self, total: int) -> None:
        """Raises an InputError if the file is truncated."""
        ...

    def close(self) -> None:
        """Closes the decoder."""
        ...


@contextmanager
def opened(name: str, path: str | None, content: bytes | None) -> Iterator[Stream]:
    """Opens a file with the decoder for its format.

    Args:
        name: Name of the file, for messages.
        path: The file; None if its content is given.
        content: Its content, in place of a path.

    Raises:
        InputError: The file is missing, empty or not audio, or its sample rate is absurd.
    """
    with _binary(name, path, content) as file:
        head = file.read(HEAD_BYTES)
        if not head:
            raise InputError(f"{name}: the file is empty (0 bytes), expected audio")
        stream = _stream(file, name, sniff(head))
        try:
            check_sample_rate(name, stream.sample_rate)
            yield stream
        finally:
            stream.close()


@contextmanager
def _binary(name: str, path: str | None, content: bytes | None) -> Iterator[BinaryIO]:
    if path is None:
        yield io.BytesIO(content or b"")
        return
    try:
        if not Path(path).is_file():
            problem = "not a file" if Path(path).exists() else "no such file"
            raise InputError(f"{name}: {problem}")
        with Path(path).open("rb", buffering=0) as file:
            yield file
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _stream(file: BinaryIO, name: str, format: Format | None) -> Stream:
    from phoneme_moe.audio.sndfile import NotReadableError, SndfileStream

    if format is None or format.by_sndfile:
        try:
            return SndfileStream(file, name)
        except NotReadableError as error:
            if format is None:
                raise InputError(
                    f"{name}: not readable as audio; expected WAV, FLAC, MP3, Ogg/Opus, AIFF or "
                    "SPHERE"
                ) from error
            return _by_ffmpeg(file, name, format)
    from phoneme_moe.audio.media import MediaStream

    return MediaStream(file, name, format)


def _by_ffmpeg(file: BinaryIO, name: str, format: Format) -> Stream:
    """A file with an encoding that only FFmpeg knows, or a damaged one."""
    from phoneme_moe.audio.media import MediaStream, is_available

    if is_available():
        return MediaStream(file, name, format)
    raise InputError(
        f"{name}: not readable as {format.name}: its header is damaged, or its encoding unknown"
    )
