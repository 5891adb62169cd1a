"""What processes that train one model together (ranks) have to agree on: sums, decisions, order.

Every function also works in a process that is alone, where it costs nothing and changes no number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch
from torch import Tensor, distributed

from phoneme_moe.errors import OtherProcessError

Result = TypeVar("Result")

_stepping = False


def num_ranks() -> int:
    """Number of processes that train together; 1 if this one is alone."""
    return distributed.get_world_size() if _together() else 1


def this_rank() -> int:
    """Number of this process among them, from 0."""
    return distributed.get_rank() if _together() else 0


def ranks_of_this_machine() -> int:
    """Number of processes that train together on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _together() else 1


def is_first_rank() -> bool:
    """Whether this process is the one that writes files and prints."""
    return this_rank() == 0


@contextmanager
def stepping_together() -> Iterator[None]:
    """A training step that all ranks take at once: only within it are sums over all of them."""
    global _stepping
    _stepping = num_ranks() > 1
    try:
        yield
    finally:
        _stepping = False


def global_sum(values: Tensor) -> Tensor:
    """Sums a tensor over the ranks that step together; outside of a step it is returned as it is.

    The result has the gradient of this rank's part times the number of ranks: the mean over ranks,
    which ``DistributedDataParallel`` takes of every gradient, is then that of the sum.

    Args:
        values: The part of this rank, in the same shape on every rank.
    """
    if not _stepping:
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    if not values.requires_grad:
        return total
    scaled = values * num_ranks()
    return scaled - scaled.detach() + total


def global_means(parts: Sequence[tuple[Tensor, int]]) -> list[Tensor]:
    """Means over the rows of all ranks that step together, of several tensors in one message.

    Whatever its size, a message takes a time of its own, in which every rank waits for the slowest.
    Gradients are as those of ``global_sum``; outside of a step, means are returned as they are.

    Args:
        parts: Means over rows of this rank, of the same shapes on every rank, each with the number
            of these rows, which may differ between ranks.
    """
    if not _stepping or not parts:
        return [mean for mean, _ in parts]
    device = parts[0][0].device
    numbers = torch.tensor([number for _, number in parts], dtype=torch.double, device=device)
    sums = [mean.double().flatten() * number for mean, number in parts]
    total_numbers, *totals = torch.split(
        global_sum(torch.cat([numbers, *sums])), [len(parts), *map(len, sums)]
    )
    return [
        (total / number.clamp_min(1)).view_as(mean).to(mean.dtype)
        for total, number, (mean, _) in zip(totals, total_numbers, parts, strict=True)
    ]


def global_mean(rows: Tensor) -> Tensor:
    """Mean over the first dimension of the rows of all ranks, with a gradient as ``global_sum``.

    Args:
        rows: The rows of this rank, shape (rows, ...); their number may differ between ranks.
    """
    if not _stepping:
        return rows.mean(dim=0)
    (mean,) = global_means([(rows.sum(dim=0) / max(len(rows), 1), len(rows))])
    return mean


def on_first_rank(function: Callable[[], Result]) -> Result:
    """Calls a function on the first rank; all ranks get its result, or raise its error.

    Raises:
        OtherProcessError: It failed; on the first rank, the error of the function itself.
    """
    if num_ranks() == 1:
        return function()
    outcome: list[object] = [None, False]
    error: BaseException | None = None
    if is_first_rank():
        try:
            outcome = [function(), True]
        except BaseException as raised:
            error = raised
    distributed.broadcast_object_list(outcome)
    if error is not None:
        raise error
    result, succeeded = outcome
    if not succeeded:
        raise OtherProcessError("the first process of the training failed and reports why")
    # The list is of objects; this one is what the function returned on the first rank.
    return result  # type: ignore[return-value]


@contextmanager
def on_first_rank_within(context: AbstractContextManager[object]) -> Iterator[None]:
    """Enters a context on the first rank, before any rank goes on.

    Raises:
        OtherProcessError: The context could not be entered; on the first rank, its own error.
    """
    on_first_rank(lambda: context.__enter__() and None)
    if not is_first_rank():
        yield
        return
    with _entered(context):
        yield


@contextmanager
def _entered(context: AbstractContextManager[object]) -> Iterator[None]:
    """Leaves a context that was entered before."""
    try:
        yield
    except BaseException as error:
        if not context.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        context.__exit__(None, None, None)


@contextmanager
def first_rank_first() -> Iterator[None]:
    """Runs the block on the first rank, then on the others, which find what it has stored."""
    if num_ranks() > 1 and not is_first_rank():
        distributed.barrier()
    yield
    if num_ranks() > 1 and is_first_rank():
        distributed.barrier()


def wait_for_all() -> None:
    """Waits until every rank is here."""
    if num_ranks() > 1:
        distributed.barrier()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
