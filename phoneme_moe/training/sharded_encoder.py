"""Training with the trained weights of a pretrained encoder sharded over processes (FSDP2).

    shards --all-gather--> weights --forward, backward--> gradients --reduce-scatter--> their shards

Between steps a process holds a shard of the weights, of their gradients and of the optimiser's
moments (Rajbhandari et al. 2020, ZeRO). Weights are gathered once in a step, however often the
encoder runs in it: utterances of each length pass through it apart, and processes have different
numbers of lengths, but have to communicate at the same time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from phoneme_moe.errors import InputError
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.system.ranks import num_ranks


@contextmanager
def encoder_sharded(recognizer: Recognizer, device: str) -> Iterator[None]:
    """Within the block, every process holds a shard of the adapters; afterwards all their weights.

    Args:
        recognizer: A model with adapters in a pretrained encoder, equal in all processes.
        device: Kind of device on which it is trained: ``cpu`` or ``cuda``.

    Raises:
        InputError: A weight matrix cannot be divided among the processes.
    """
    assert recognizer.adapted is not None
    adapters = recognizer.adapted.adapters
    for parameter in adapters.parameters():  # before any of them is changed
        _placement(parameter)
    mesh = init_device_mesh(device, (num_ranks(),))
    whole = {}
    for name, part in adapters.items():
        whole[name] = copy.deepcopy(part).to("meta")
        _shard(part, mesh)
    yield
    for name, part in whole.items():
        part.load_state_dict(adapters[name].state_dict(), assign=True)
        adapters[name] = part.train(adapters[name].training)


def _shard(part: nn.Module, mesh: DeviceMesh) -> None:
    """Shards the weights of a module in place; its state stays that of the whole module."""
    sharded = fully_shard(
        part, mesh=mesh, reshard_after_forward=False, shard_placement_fn=_placement
    )
    sharded.set_reshard_after_backward(False)
    # torch gives these methods no types.
    part.register_state_dict_post_hook(_gather_state)  # type: ignore[no-untyped-call]
    part.register_load_state_dict_pre_hook(_shard_state)  # type: ignore[no-untyped-call]


def _placement(parameter: nn.Parameter) -> Shard:
    """The largest dimension of a parameter that can be divided evenly."""
    sizes = [(size, dim) for dim, size in enumerate(parameter.shape) if size % num_ranks() == 0]
    if not sizes:
        raise InputError(
            f"features.model: found weights of shape {tuple(parameter.shape)} in the encoder to "
            f"shard over {num_ranks()} processes, expected a size that is a multiple of "
            f"{num_ranks()}"
        )
    return Shard(max(sizes)[1])


def reshard(module: nn.Module) -> None:
    """Releases the whole weights of sharded modules inside a module, when a step has ended."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def gathered(value: Tensor) -> Tensor:
    """A tensor from its shards, which all processes call at the same time."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shard_like(value: Tensor, parameter: DTensor) -> DTensor:
    """This process's shard of a tensor, divided as a sharded parameter of its shape is."""
    whole = value.to(parameter.device)
    # Every process has the tensor, so that nothing is sent.
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)


def _gather_state(part: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    for name, _parameter in part.named_parameters():
        state[prefix + name] = gathered(state[prefix + name].detach())


def _shard_state(part: nn.Module, state: dict[str, Tensor], prefix: str, *more: object) -> None:
    reshard(part)
    for name, parameter in part.named_parameters():
        value = state.get(prefix + name)
        # torch reports another shape.
        if isinstance(parameter, DTensor) and value is not None and value.shape == parameter.shape:
            state[prefix + name] = shard_like(value, parameter)
