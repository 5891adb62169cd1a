"""Reading by libsndfile: WAV, FLAC, MP3, Ogg, AIFF, SPHERE and others."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from phoneme_moe.audio.headers import Header, PatchedFile, check_sample_rate, read_header
from phoneme_moe.errors import InputError

_AFTER_END = 256
"""Samples that are read where the header says that there are no more."""


class NotReadableError(InputError):
    """libsndfile cannot read the file."""


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """Reads without seeking back and forth, which fails where a header gives no length."""

    def seekable(self) -> bool:
        return False


class SndfileStream:
    """An open file.

    Attributes:
        format: Name of the format.
        sample_rate: Samples per second.
        num_channels: Number of channels.
        num_samples: Length in samples, if the header can be believed.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Opens a file.

        Args:
            file: The file, unbuffered or in memory; stays open.
            name: Its name, for messages.

        Raises:
            NotReadableError: libsndfile cannot read the file.
            InputError: Its sample rate is absurd.
        """
        self._name = name
        self._header: Header = read_header(file)
        if self._header.sample_rate is not None:
            check_sample_rate(name, self._header.sample_rate)
        file.seek(0)
        source: int | BinaryIO | PatchedFile = file
        if self._header.patches:
            source = PatchedFile(file, self._header.patches)
        elif not isinstance(file, io.BytesIO) and os.name == "posix":
            # By its descriptor: faster, and without a suffix to mislead libsndfile. On Windows the
            # descriptors of Python are not those of libsndfile.
            source = file.fileno()
            os.lseek(source, 0, os.SEEK_SET)
        try:
            self._sound = _Sequential(source, closefd=False)
        except (soundfile.LibsndfileError, TypeError, OSError) as error:
            # TypeError for a format without a header, whose sample rate is unknown.
            raise NotReadableError(f"{name}: not readable as audio") from error
        self.format: str = self._sound.format
        self.sample_rate: int = self._sound.samplerate
        self.num_channels: int = self._sound.channels
        self.num_samples = self._believed()
        self._rest = self.num_samples

    def _believed(self) -> int | None:
        if self._sound.subtype.startswith("MPEG"):
            return None  # an estimate
        if self.format == "FLAC":
            return self._header.num_samples
        frames = int(self._sound.frames)
        return frames if 0 <= frames < 1 << 46 else None

    def skip(self, samples: int) -> None:
        """Goes to a sample of the recording."""
        if samples and (self.num_samples is None or samples <= self.num_samples):
            self._sound.seek(samples)
        if self._rest is not None:
            self._rest -= samples

    def read(self, samples: int) -> NDArray[np.float32]:
        """Reads up to that many samples, shape (samples, channels); none at the end.

        Raises:
            InputError: The file is damaged.
        """
        if self._rest is not None:
            # libsndfile clears what it does not fill, which takes longer than reading a short file.
            samples = min(samples, max(self._rest, _AFTER_END))
        try:
            block: NDArray[np.float32] = self._sound.read(samples, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            raise InputError(f"{self._name}: damaged: {_reason(error)}") from error
        if self._rest is not None:
            self._rest -= len(block)
        return block

    def check_length(self, total: int) -> None:
        """Compares the number of samples of the whole file with its header.

        Raises:
            InputError: The file is truncated.
        """
        if self.num_samples is not None and total < self.num_samples:
            raise InputError(
                f"{self._name}: truncated: found {total} samples, but {self.num_samples} in its "
                "header"
            )
        if self._header.is_truncated:
            raise InputError(
                f"{self._name}: truncated: found {self._header.actual} bytes of samples, but "
                f"{self._header.promised} in its header"
            )

    def close(self) -> None:
        """Closes the decoder, not the file."""
        self._sound.close()


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error)
    return " ".join(text.split()).rstrip(".")
