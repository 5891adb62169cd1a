"""The content of model.json."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from phoneme_moe.files.compact_weights import WeightBits
from phoneme_moe.files.documents import Document
from phoneme_moe.recipe import AnyFeatures, Model, Task

MODEL_FORMAT: Final = "phoneme_moe.model"
MODEL_VERSION: Final = 2
"""Format version of ``model.json``; newer versions are rejected. Version 2 has weights in fewer
bits."""


class TimingDocument(Document):
    """Settings of the timing net."""

    width: Annotated[int, Field(ge=1)]
    prior_scale: Annotated[float, Field(ge=0)]


class ModelDocument(Document):
    """``model.json``, which together with ``model.safetensors`` describes a model completely."""

    format: Literal["phoneme_moe.model"]
    version: Literal[1, 2]
    package_version: str
    recipe: str
    corpus: str = ""
    features: AnyFeatures
    """Section of the recipe with every setting resolved, like ``task`` and ``model``."""
    task: Task
    model: Model
    phonemes: Annotated[list[str], Field(min_length=1)]
    """Phonemes in the order of the outputs; output 0 is the CTC blank if ``task.kind`` is
    recognize."""
    experts: Annotated[list[str], Field(min_length=1)]
    timing: TimingDocument | None = None
    """Settings of the timing net, which determines phoneme times; null without one."""
    num_parameters: Annotated[int, Field(ge=1)] | None = None
    """Number of weights, without the timing net."""
    weight_bits: WeightBits | SkipJsonSchema[None] = None
    """Bits of a weight in ``model.safetensors``: 16 (float16), or 8 (integers with a scale for each
    row, stored as NAME.scale); absent for 32. Tensors of one dimension always have 32."""

    @field_validator("version", mode="before")
    @classmethod
    def _is_not_newer(cls, version: object) -> object:
        if isinstance(version, int) and version > MODEL_VERSION:
            raise ValueError(
                f"found {version}, but this phoneme-moe reads versions up to {MODEL_VERSION}; "
                "install a newer one"
            )
        return version
