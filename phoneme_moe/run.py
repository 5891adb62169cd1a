"""A run as Python programs use it: everything that a command does is a method of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phoneme_moe.run_folder import LoadedRun, load_run

if TYPE_CHECKING:
    from phoneme_moe.transcription.transcribe import Options
    from phoneme_moe.transcription.transcript import Transcript


@dataclass(frozen=True)
class Run(LoadedRun):
    """A trained run (``load``)."""

    def transcribe(self, path: str | Path, options: Options | None = None) -> Transcript:
        """Transcribes a recording (``transcription.transcribe``).

        Raises:
            InputError: The file is not audio that can be used, or the options do not fit the run.
        """
        from phoneme_moe.transcription.run_engine import transcribe

        return transcribe(self, path, options)


def load(folder: str | Path, device: str = "cpu") -> Run:
    """Opens a run folder: ``phoneme_moe.load("runs/dense").transcribe("a.wav")``.

    Args:
        folder: What ``phoneme-moe train`` left.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        InputError: As ``run_folder.load_run``.
    """
    loaded = load_run(folder, device)
    return Run(loaded.folder, loaded.recipe, loaded.recognizer, loaded.decoding)
