"""Sounds that are decoded when they are first needed, and an index of those that were before.

Stored features are found by a hash of the samples (``features.feature_store``), for which a sound
has to be decoded. The index has this hash by what the sound was made from: the file with its size
and times, the segment of it, and what was changed afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.features.feature_store import sound_key
from phoneme_moe.files.locks import lock_folder

Origin = tuple[str | int | float | None, ...]

FILE = "sounds.txt"

_LINE = re.compile(r"^([0-9a-f]{32}) ([0-9a-f]{32})$", re.MULTILINE)
_version = cache(version)


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound that is decoded when it is first needed.

    Attributes:
        decode: Returns the waveform, shape (samples,).
        origin: All that the waveform depends on; None if that is not known.
    """

    decode: Callable[[], Waveform]
    origin: Origin | None = None

    @cached_property
    def waveform(self) -> Waveform:
        """The waveform, shape (samples,)."""
        return self.decode()

    def forget(self) -> None:
        """Frees the waveform, which is decoded again when it is needed."""
        self.__dict__.pop("waveform", None)

    def changed(self, change: Callable[[Waveform], Waveform], *settings: str | float) -> Sound:
        """The sound after a change.

        Args:
            change: Computes the new waveform from the old one.
            settings: Name of the change, and all else that it depends on.
        """
        origin = None if self.origin is None else (*self.origin, *settings)
        return _ChangedSound(lambda: change(self.waveform), origin, self)

    @property
    def name(self) -> str | None:
        """Hash of the origin and the version of the package, which decodes it; None if unknown."""
        if self.origin is None:
            return None
        text = json.dumps([_version("phoneme-moe"), *self.origin])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class _ChangedSound(Sound):
    """A sound that was made from another one, ``base``."""

    base: Sound | None = None

    def forget(self) -> None:
        super().forget()
        if self.base is not None:
            self.base.forget()


class SoundIndex:
    """Hashes of the samples of sounds (``sound_key``) by their names, in a text file."""

    def __init__(self, folder: Path) -> None:
        """Reads the index of a folder, if there is one."""
        self.folder = folder
        self._keys = self._read()

    def _read(self) -> dict[str, str]:
        with suppress(OSError):
            text = (self.folder / FILE).read_text("ascii", "replace")
            return dict(_LINE.findall(text))  # a damaged line only costs time
        return {}

    def known_key(self, sound: Sound) -> str | None:
        """The key of a sound, if that is known without decoding it."""
        return None if sound.name is None else self._keys.get(sound.name)

    def keys(self, sounds: Sequence[Sound]) -> list[str]:
        """The keys of sounds; decodes those that are new and adds them to the index."""
        new: dict[str, str] = {}
        keys = []
        for sound in sounds:
            key = self.known_key(sound)
            if key is None:
                key = sound_key(sound.waveform)
                name = sound.name
                if name is not None:
                    new[name] = key
            keys.append(key)
        if new:
            with suppress(OSError):  # without the index, sounds are decoded again
                self._add(new)
        return keys

    def _add(self, new: dict[str, str]) -> None:
        self._keys |= new
        lines = "".join(f"{name} {key}\n" for name, key in new.items())
        with (
            lock_folder(self.folder, wait=lambda: None),
            (self.folder / FILE).open("ab+") as file,
        ):
            if file.tell():
                file.seek(-1, os.SEEK_END)
                # What a killed process has left of a line must not run into the next one.
                lines = lines if file.read(1) == b"\n" else f"\n{lines}"
            file.write(lines.encode("ascii"))
