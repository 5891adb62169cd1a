"""Training with experts spread (``SpreadExperts``) or an encoder sharded over processes.

What a process has of these weights is not that of another: gradients are not averaged between them,
the norm of the gradient is that of all parts, and a checkpoint has all parts, so that training can
go on with another number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.spread_experts import SpreadExperts, all_parts, own_part
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.system.ranks import global_sum
from phoneme_moe.training.sharded_encoder import gathered, shard_like


@contextmanager
def experts_spread(recognizer: Recognizer) -> Iterator[None]:
    """Within the block, every process holds a part of the experts; afterwards all of them, again.

    Raises:
        InputError: The model has no sparse layer with experts that can be spread, or their number
            is not a multiple of that of the processes.
    """
    layers = recognizer.encoder.sparse_layers if recognizer.encoder else []
    spread = [layer for layer in layers if isinstance(layer, SparseFeedForward)]
    if not spread or len(spread) < len(layers):
        raise InputError(
            "found no sparse layers whose experts could be spread over processes, expected "
            "model.encoder.sparse with another router than soft"
        )
    for layer in spread:
        layer.experts = SpreadExperts(layer.experts)
    yield
    for layer in spread:
        assert isinstance(layer.experts, SpreadExperts)
        layer.experts = layer.experts.whole()


def divided_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of which every process has another part, by name."""
    spread = {
        f"{name}.{parameter_name}"
        for name, part in module.named_modules()
        if isinstance(part, SpreadExperts)
        for parameter_name, _ in part.named_parameters()
    }
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if name in spread or isinstance(parameter, DTensor)
    }


def keep_from_averaging(module: nn.Module) -> None:
    """Tells ``DistributedDataParallel`` not to average the gradients of these parameters.

    It looks for this attribute, which torch sets for its own sharded training.
    """
    # torch declares attributes of a module as tensors or modules; this one is a list of names.
    module._ddp_params_and_buffers_to_ignore = list(  # type: ignore[assignment]
        divided_parameters(module)
    )


class AveragingStrategy(DDPStrategy):
    """Averages the gradients of what every process has a copy of."""

    def configure_ddp(self) -> None:
        """Prepares averaging, which torch refuses if there is nothing to average."""
        assert self.lightning_module is not None
        keep_from_averaging(self.lightning_module)
        parts = set(divided_parameters(self.lightning_module).values())
        if any(p.requires_grad and p not in parts for p in self.lightning_module.parameters()):
            super().configure_ddp()


def clip_gradients(module: nn.Module, most: float) -> None:
    """Scales the gradients so that their norm, of all processes' parts, is at most ``most``."""
    parts = set(divided_parameters(module).values())
    trained = [p for p in module.parameters() if p.grad is not None]
    whole = [p.grad for p in trained if p.grad is not None and p not in parts]
    norm = torch.nn.utils.get_total_norm(whole)
    if parts:
        own = [_local(p.grad) for p in trained if p in parts and p.grad is not None]
        total = global_sum(torch.nn.utils.get_total_norm(own).square())
        norm = (norm.square() + total).sqrt()
    torch.nn.utils.clip_grads_with_norm_(
        [p for p in trained if not isinstance(p, DTensor)], most, norm
    )
    torch.nn.utils.clip_grads_with_norm_([p for p in trained if isinstance(p, DTensor)], most, norm)


def with_all_parts(
    state: dict[str, Any], optimizer: torch.optim.Optimizer, module: nn.Module
) -> None:
    """Completes an optimiser's state in a checkpoint by the parts of all processes, in place."""
    _change_parts(
        state,
        optimizer,
        module,
        lambda value, _: gathered(value) if isinstance(value, DTensor) else all_parts(value),
    )


def with_own_parts(
    state: dict[str, Any], optimizer: torch.optim.Optimizer, module: nn.Module
) -> None:
    """Reduces an optimiser's state in a checkpoint to this process's parts, in place."""
    _change_parts(
        state,
        optimizer,
        module,
        lambda value, parameter: (
            shard_like(value, parameter) if isinstance(parameter, DTensor) else own_part(value)
        ),
    )


def _change_parts(
    state: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    module: nn.Module,
    change: Callable[[Tensor, nn.Parameter], Tensor],
) -> None:
    parts = set(divided_parameters(module).values())
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    changed = dict(state["state"])
    for number, parameter in enumerate(parameters):
        if parameter in parts and number in changed:
            changed[number] = {
                # Moments have the shape of the weights; counts of steps have none.
                name: (
                    change(value, parameter) if isinstance(value, Tensor) and value.dim() else value
                )
                for name, value in changed[number].items()
            }
    state["state"] = changed


def _local(gradient: Tensor) -> Tensor:
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient
