"""Models that come with the package, one folder each, and where the name of a run leads.

``phoneme-moe export RUN --run phoneme_moe/models/NAME`` makes such a folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from phoneme_moe.errors import InputError, suggest

ROOT = Path(__file__).parent

OUTPUTS = Path("results")
"""Folder in which the outputs for these models are written, since the package is left as it is."""

_RUN_FILES = ("recipe.yaml", "model.json")


def shipped_models() -> dict[str, Path]:
    """Folders of the models that come with the package, by name."""
    return {path.parent.name: path.parent for path in sorted(ROOT.glob("*/model.json"))}


def locate_run(run: str | Path) -> Path:
    """The folder of a run: an existing run folder of that name, else a model of the package.

    A folder of recordings that happens to have a model's name is not in its way.

    Args:
        run: Path of a run folder, or name of a model of the package.

    Raises:
        InputError: There is no such folder, and no such model.
    """
    folder = Path(run)
    if any(os.path.lexists(folder / name) for name in _RUN_FILES):
        return folder
    models = shipped_models()
    if str(run) in models:
        return models[str(run)]
    if folder.is_dir():
        raise InputError(f"{folder}: not a run folder: it has no recipe.yaml")
    # A path with several parts is no name, and what it is close to would be no help.
    hint = suggest(str(run), models) if models and len(folder.parts) == 1 else ""
    raise InputError(f"{folder}: no such run folder{hint}")


def shipped_name(folder: Path) -> str | None:
    """The name of a model of the package; None for any other folder."""
    resolved = folder.resolve()
    return resolved.name if resolved.parent == ROOT.resolve() else None


def output_folder(folder: Path) -> Path:
    """Where commands write by default: into a run folder, or beside the user for a shipped model.

    Args:
        folder: A run folder.

    Returns:
        The folder itself; ``results/NAME`` for a model of the package.
    """
    name = shipped_name(folder)
    return folder if name is None else OUTPUTS / name
