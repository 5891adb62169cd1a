"""Which recordings a user means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from phoneme_moe.errors import InputError
from phoneme_moe.features.audio import AUDIO_SUFFIXES


def find_audio(
    inputs: Iterable[Path], refuse: Callable[[InputError], None] | None = None
) -> list[Path]:
    """Files as they are, folders as the audio files in them, patterns as what they match.

    Args:
        inputs: Files, folders, patterns such as ``*.wav`` (for shells that leave them as they are),
            or ``-``.
        refuse: Told of a folder that holds no audio file, or a pattern that matches nothing, so
            that the others are still found; the first is raised when left out.

    Raises:
        InputError: As told to ``refuse``.
    """
    files: list[Path] = []

    def complain(text: str) -> None:
        if refuse is None:
            raise InputError(text)
        refuse(InputError(text))

    for path in inputs:
        if path.is_dir():
            found = sorted(
                p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()
            )
            if not found:
                known = " ".join(sorted(AUDIO_SUFFIXES))
                complain(f"{path}: the folder holds no audio file ({known})")
            files.extend(found)
        elif not path.exists() and any(sign in str(path) for sign in "*?["):
            root = Path(path.anchor) if path.anchor else Path()
            matching = sorted(p for p in root.glob(str(path.relative_to(root))) if p.is_file())
            if not matching:
                complain(f"{path}: no file matches the pattern")
            files.extend(matching)
        else:
            files.append(path)
    return files
