"""Building a model for the shapes of its weights alone, without memory or time for their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_RANDOM = {torch.rand, torch.randn}
_FILLS = {
    Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_, Tensor.mul_,
    nn.init.normal_, nn.init.uniform_, nn.init.constant_, nn.init.kaiming_uniform_,
}  # fmt: skip
_FACTORS = {Tensor.mul, torch.mul}


class _NoValues(TorchFunctionMode):
    """Leaves out what computes the values of tensors.

    On the meta device it would import torch's compiler, which takes more than a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _RANDOM:
            kwargs.pop("generator", None)
            return torch.empty(*args, **{**kwargs, "device": "meta"})
        tensor = args[0] if args else kwargs.get("tensor")
        has_no_values = isinstance(tensor, Tensor) and tensor.is_meta
        if has_no_values and (func in _FILLS or (func in _FACTORS and isinstance(args[1], float))):
            return tensor
        return func(*args, **kwargs)


@contextmanager
def shapes_only() -> Iterator[None]:
    """A context in which new tensors have a shape and no values."""
    with torch.device("meta"), _NoValues():
        yield
