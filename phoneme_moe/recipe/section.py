"""Base class and number types of the sections of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
"""A whole number, 1 or more."""

Amount = Annotated[float, Field(ge=0)]
"""A number, 0 or more."""


class Section(BaseModel):
    """A section of a recipe: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
