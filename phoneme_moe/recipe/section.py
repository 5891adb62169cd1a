"""Base class and number types of the sections of a recipe."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_LAYERS = 1_000
"""Most layers of a network, and most levels of a tree."""

Count = Annotated[int, Field(ge=1, le=1_000_000)]
"""A whole number, 1 or more."""

Frames = Annotated[int, Field(ge=1, le=10_000)]
"""A number of frames, 1 or more."""

Epochs = Annotated[int, Field(ge=1, le=99_999)]
"""Passes over the training data; the random seed of an epoch has five digits for it."""

Amount = Annotated[float, Field(ge=0)]
"""A number, 0 or more."""

Milliseconds = Annotated[float, Field(ge=0, le=60_000)]


def _check_folder_name(name: str) -> str:
    if name in {"", ".", ".."} or len(name) > 200 or re.search(r"[\x00-\x1f\x7f/\\]", name):
        raise ValueError(
            f"found {name[:40]!r}, which cannot name a folder; expected 1 to 200 characters "
            "without '/', '\\' and control characters"
        )
    return name


FolderName = Annotated[str, AfterValidator(_check_folder_name)]
"""A name that a file or folder of a run has, too."""


class Section(BaseModel):
    """A section of a recipe: frozen, without unknown keys and without infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
