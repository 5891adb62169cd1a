"""Reading by FFmpeg: recordings of phones, browsers and meetings (M4A, MP4, WebM, AMR, WMA ...).

PyAV (the extra ``media``) carries FFmpeg; without it, a program ``ffmpeg`` on the path is used.
The demuxer is given by the file's first bytes, never guessed by FFmpeg: a playlist must not make it
open other files or addresses.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.audio.formats import Format
from phoneme_moe.errors import InputError
from phoneme_moe.system.extras import install_command

INSTALL = install_command("media")
Floats = NDArray[np.float32]

_LATE_SECONDS = 0.05
"""A sound track that begins later than this in a video gets silence before it."""
_MAX_LATE_SECONDS = 3600.0


def is_available() -> bool:
    """Whether PyAV or the program ``ffmpeg`` is there."""
    return importlib.util.find_spec("av") is not None or shutil.which("ffmpeg") is not None


class MediaStream:
    """An open file, as ``sndfile.SndfileStream``."""

    num_samples = None
    """The containers tell the length only roughly."""

    def __init__(self, file: BinaryIO, name: str, format: Format) -> None:
        """Opens a file.

        Args:
            file: The file; stays open.
            name: Its name, for messages.
            format: Its format.

        Raises:
            InputError: The file has no sound, or cannot be decoded; or neither PyAV nor ``ffmpeg``
                is there.
        """
        self.format = format.name
        self._name = name
        self._rest: Floats | None = None
        try:
            import av
        except ImportError:
            program = shutil.which("ffmpeg")
            if program is None:
                raise InputError(
                    f"{name}: found {format.name}, which needs the extra media ({INSTALL}) or the "
                    "program ffmpeg"
                ) from None
            self._source: _Program | _Library = _Program(file, name, format, program)
        else:
            self._source = _Library(av, file, name, format)
        self.sample_rate = self._source.sample_rate
        self.num_channels = self._source.num_channels
        self._blocks = self._source.blocks()

    def skip(self, samples: int) -> None:
        """Goes to a sample of the recording by decoding what is before it."""
        while samples > 0:
            block = self.read(min(samples, 1 << 16))
            if not len(block):
                return
            samples -= len(block)

    def read(self, samples: int) -> Floats:
        """Reads up to that many samples, shape (samples, channels); none at the end.

        Raises:
            InputError: The file is damaged.
        """
        parts, missing = [np.empty((0, self.num_channels), np.float32)], samples
        while missing > 0:
            part = self._rest if self._rest is not None else next(self._blocks, None)
            self._rest = None
            if part is None:
                break
            if len(part) > missing:
                part, self._rest = part[:missing], part[missing:]
            parts.append(part)
            missing -= len(part)
        return np.concatenate(parts)

    def check_length(self, total: int) -> None:
        """Does nothing: the header gives no exact length."""

    def close(self) -> None:
        """Ends the decoder."""
        self._source.close()


class _Library:
    """PyAV."""

    def __init__(self, av: Any, file: BinaryIO, name: str, format: Format) -> None:
        self._av, self._name, self._format = av, name, format
        av.logging.set_level(None)
        file.seek(0)
        try:
            # No protocol: references to other files are not followed.
            options = {"protocol_whitelist": "none"}
            self._container = av.open(
                file, format=format.demuxer, options=options, metadata_errors="replace"
            )
        except (av.FFmpegError, ValueError, OSError) as error:
            raise self._not_readable(error) from error
        tracks = self._container.streams.audio
        if not tracks:
            raise InputError(f"{name}: found {format.name} without a sound track")
        self._track = tracks[0]
        self._track.thread_type = "AUTO"
        self._frames = self._decoded()
        first = next(self._frames, None)
        if first is None:
            raise InputError(f"{name}: found {format.name} without samples")
        self._first: Any = first
        self.sample_rate = int(first.sample_rate)
        self.num_channels = len(first.layout.channels)

    def _not_readable(self, error: Exception) -> InputError:
        reason = getattr(error, "strerror", None) or str(error)
        return InputError(f"{self._name}: not readable as {self._format.name}: {reason}")

    def _decoded(self) -> Iterator[Any]:
        try:
            yield from self._container.decode(self._track)
        except self._av.error.EOFError:
            return
        except (self._av.FFmpegError, ValueError, OSError) as error:
            raise self._not_readable(error) from error

    def blocks(self) -> Iterator[Floats]:
        first = self._first
        late = float(first.time or 0.0) - (self._container.start_time or 0) / self._av.time_base
        if _LATE_SECONDS < late < _MAX_LATE_SECONDS:
            missing = round(late * self.sample_rate)
            while missing > 0:
                size = min(missing, 1 << 16)
                yield np.zeros((size, self.num_channels), np.float32)
                missing -= size
        resampler = self._converter(first)
        for frame in _chain(first, self._frames):
            try:
                converted = resampler.resample(frame)
            except ValueError:  # the track changes its layout or rate
                resampler = self._converter(first)
                converted = resampler.resample(frame)
            for part in converted:
                yield part.to_ndarray().T
        for part in resampler.resample(None):
            yield part.to_ndarray().T

    def _converter(self, first: Any) -> Any:
        return self._av.AudioResampler("fltp", first.layout, first.sample_rate)

    def close(self) -> None:
        self._container.close()


class _Program:
    """The program ``ffmpeg``, which writes a WAV of floats to a pipe."""

    def __init__(self, file: BinaryIO, name: str, format: Format, program: str) -> None:
        self._name, self._format = name, format
        self._open = ExitStack()
        if isinstance(file, io.BytesIO):  # many formats need a file in which it can seek
            # Needed until close(), so not in a with block.
            copy = self._open.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115
            copy.write(file.getbuffer())
            copy.flush()
            path = copy.name
        else:
            path = file.name
        # With its protocol, a name is neither taken for an option nor for an address.
        options = ["-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe"]
        source = ["-f", format.demuxer, "-i", f"file:{Path(path).absolute()}"]
        # A sound track that begins late gets silence before it.
        target = [
            "-vn",
            "-map",
            "0:a:0",
            "-af",
            "aresample=first_pts=0",
            "-c:a",
            "pcm_f32le",
            "-f",
            "wav",
            "pipe:1",
        ]
        self._process = subprocess.Popen(
            [program, *options, *source, *target],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        try:
            self.sample_rate, self.num_channels = self._read_header()
        except InputError:
            self.close()
            raise

    def _read_header(self) -> tuple[int, int]:
        rate = channels = 0
        if len(self._pipe.read(12)) == 12:
            while len(chunk := self._pipe.read(8)) == 8:
                if chunk[:4] == b"data":
                    return rate, channels
                body = self._pipe.read(struct.unpack("<I", chunk[4:])[0])
                if chunk[:4] == b"fmt " and len(body) >= 16:
                    channels, rate = struct.unpack("<HI", body[2:8])
        raise InputError(f"{self._name}: not readable as {self._format.name}, or without sound")

    def blocks(self) -> Iterator[Floats]:
        size = 4 * self.num_channels
        while data := self._pipe.read(size << 14):
            usable = len(data) // size * size
            yield np.frombuffer(data[:usable], np.float32).reshape(-1, self.num_channels)
        if self._process.wait() != 0:
            raise InputError(f"{self._name}: damaged: ffmpeg ended with an error")

    def close(self) -> None:
        with suppress(OSError):
            self._process.kill()
        self._pipe.close()
        self._process.wait()
        self._open.close()


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
