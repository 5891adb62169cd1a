"""Features that are expensive to compute, on disk in 16 bits, found again by the sound itself.

A store is a folder with ``values.bin``, rows of float16, and ``index.jsonl``, a line for each
recording: the hash of its samples, its first row and its number of rows. Rows are written before
their line, so that an interruption loses what was computed last and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.errors import InputError
from phoneme_moe.files.locks import lock_folder

VALUES, INDEX = "values.bin", "index.jsonl"
_FLOAT16_MAX = 65_504.0


def sound_key(waveform: Waveform) -> str:
    """Name of a sound: a hash of its samples."""
    return hashlib.sha256(np.ascontiguousarray(waveform, np.float32).tobytes()).hexdigest()[:32]


class FeatureStore:
    """Features of recordings by the hash of their samples, mapped into memory."""

    def __init__(self, folder: Path, num_features: int) -> None:
        """Opens or creates a store.

        Args:
            folder: Its folder, for one kind of features.
            num_features: Features of a frame.

        Raises:
            InputError: The index is damaged.
        """
        self.folder = folder
        self.num_features = num_features
        self._places: dict[str, tuple[int, int]] = {}
        # One map for all recordings, since a process has few handles.
        self._mapped: np.memmap[tuple[int, int], np.dtype[np.float16]] | None = None
        self._read_index()

    def _read_index(self) -> None:
        file = self.folder / INDEX
        if not file.is_file():
            return
        rows = self._num_rows()
        for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], start=1):
            try:
                key, first, length = json.loads(line)
                valid = first >= 0 and length >= 0 and first + length <= rows
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"{file}:{number}: found {line[:40]!r}, expected a hash and two numbers; "
                    f"delete {self.folder}, which is computed again"
                ) from error
            if valid:
                self._places[str(key)] = int(first), int(length)

    def _num_rows(self) -> int:
        file = self.folder / VALUES
        return file.stat().st_size // (2 * self.num_features) if file.is_file() else 0

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def compute_missing(
        self, sounds: Iterable[tuple[str, Waveform]], encode: Callable[[Waveform], Tensor]
    ) -> None:
        """Computes and stores what is missing, in order.

        Args:
            sounds: Keys (``sound_key``) and waveforms.
            encode: Computes the features of a waveform, shape (frames, features).
        """
        with lock_folder(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._read_index()  # another process may have computed some
            self._drop_half_a_line()
            with (self.folder / VALUES).open("ab") as values:
                # The rows of an interrupted recording have no line in the index.
                values.truncate(self._num_rows() * 2 * self.num_features)
                for key, waveform in sounds:
                    if key not in self._places:
                        self._append(key, encode(waveform), values)

    def _drop_half_a_line(self) -> None:
        file = self.folder / INDEX
        if file.is_file():
            content = file.read_bytes()
            os.truncate(file, content.rfind(b"\n") + 1)

    def _append(self, key: str, features: Tensor, values: BinaryIO) -> None:
        first = self._num_rows()
        array = features.clamp(-_FLOAT16_MAX, _FLOAT16_MAX).to(torch.float16).numpy()
        values.write(np.ascontiguousarray(array).tobytes())
        values.flush()
        with (self.folder / INDEX).open("a", encoding="ascii") as index:
            index.write(json.dumps([key, first, len(array)]) + "\n")
        self._places[key] = first, len(array)

    def features(self, key: str) -> Tensor:
        """The features of a sound, shape (frames, features), float16, read from disk when used."""
        first, length = self._places[key]
        if not length:  # an empty file cannot be mapped
            return torch.empty(0, self.num_features, dtype=torch.float16)
        if self._mapped is None or len(self._mapped) < first + length:
            shape = self._num_rows(), self.num_features
            # Private: a change of an example never reaches the file.
            self._mapped = np.memmap(self.folder / VALUES, np.float16, "c", 0, shape)
        return torch.from_numpy(self._mapped[first : first + length])
