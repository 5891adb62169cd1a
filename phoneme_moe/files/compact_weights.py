"""Weights in 16 or 8 bits, for models that are copied and not trained further.

Only tensors of two or more dimensions are made smaller; the few others (biases, norms, statistics)
keep 32 bits. In 8 bits, each row has integers -127..127 and a scale: weight = integer * scale, so
that no weight is off by more than half of its row's scale (symmetric quantisation of weights only,
cf. Jacob et al. 2018; here everything is computed in 32 bits after loading).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

WeightBits = Literal[8, 16, 32]

SCALE: Final = ".scale"
"""Ending of the name under which the scales of a tensor's rows are stored."""

MIN_ROW = 16
"""Fewest weights that share a scale: shorter rows are joined with their neighbours."""

MAX_INTEGER = 127


def row_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Number of rows and weights in each: the last dimensions, until there are ``MIN_ROW``.

    Args:
        shape: Shape of a tensor of one or more dimensions.
    """
    length, first = 1, len(shape)
    while first and length < MIN_ROW:
        first -= 1
        length *= shape[first]
    return math.prod(shape[:first]), length


def compact(weights: Mapping[str, Tensor], bits: WeightBits) -> dict[str, Tensor]:
    """Converts weights to the form in which they are stored.

    Args:
        weights: Weights by name, finite.
        bits: Bits of a weight.

    Returns:
        Tensors by name; with 8 bits, those that are quantised are followed by their scales, shape
        (rows,).

    Raises:
        InputError: A weight is too large for 16 bits.
    """
    import torch

    stored = {}
    for name, weight in weights.items():
        if not _is_made_smaller(weight, bits):
            stored[name] = weight
        elif bits == 16:
            stored[name] = weight.to(torch.float16)
            if not bool(stored[name].isfinite().all()):
                most = float(weight.abs().max())
                raise InputError(
                    f"{name}: found a weight of {most:.3g}, expected at most 65504 in 16 bits"
                )
        else:
            rows = weight.detach().float().reshape(row_shape(tuple(weight.shape)))
            scale = rows.abs().amax(dim=1) / MAX_INTEGER
            # A row of zeros, or of numbers so small that their scale is 0, is stored as zeros.
            divisor = torch.where(scale > 0, scale, torch.inf)
            integers = (rows / divisor[:, None]).round().clamp(-MAX_INTEGER, MAX_INTEGER)
            stored[name] = integers.to(torch.int8).reshape(weight.shape)
            stored[name + SCALE] = scale
    return stored


def stored_form(expected: Mapping[str, Tensor], bits: WeightBits) -> dict[str, Tensor]:
    """Tensors with the shapes and kinds of numbers of the stored weights; without values.

    Args:
        expected: Tensors with the shapes of the weights, by name; their values do not matter.
        bits: Bits of a weight.
    """
    import torch

    form = dict(expected)
    for name, weight in expected.items():
        if bits == 8 and _is_made_smaller(weight, bits):
            form[name] = torch.empty(weight.shape, dtype=torch.int8, device="meta")
            rows, _ = row_shape(tuple(weight.shape))
            form[name + SCALE] = torch.empty(rows, device="meta")
    return form


def restore(
    stored: Mapping[str, Tensor], expected: Mapping[str, Tensor], bits: WeightBits, file: Path
) -> dict[str, Tensor]:
    """Converts stored weights back to 32 bits.

    Args:
        stored: Tensors with the names and shapes of ``stored_form``, finite.
        expected: As for ``stored_form``.
        bits: Bits of a weight.
        file: Their file, for error messages.

    Raises:
        InputError: A scale is negative, or so large that a weight is not finite.
    """
    weights = {}
    for name, like in expected.items():
        weight = stored[name]
        if bits == 8 and _is_made_smaller(like, bits):
            scale = stored[name + SCALE]
            if bool((scale < 0).any()):
                raise InputError(
                    f"{file}: {name}{SCALE}: found {float(scale.min()):.3g}, expected at least 0"
                )
            rows = weight.float().reshape(row_shape(tuple(weight.shape))) * scale.float()[:, None]
            if not bool(rows.isfinite().all()):
                raise InputError(
                    f"{file}: {name}{SCALE}: found {float(scale.max()):.3g}, with which weights "
                    "are not finite"
                )
            weight = rows.reshape(weight.shape)
        elif bits == 16 and weight.is_floating_point():
            weight = weight.float()
        weights[name] = weight
    return weights


def _is_made_smaller(weight: Tensor, bits: WeightBits) -> bool:
    return bits < 32 and weight.is_floating_point() and weight.dim() >= 2
