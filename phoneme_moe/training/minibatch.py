"""A plain minibatch loop: AdamW with a one-cycle schedule, for many nets in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Schedule:
    """Training schedule (the papers do not give theirs).

    Attributes:
        epochs: Number of passes over the tokens.
        learning_rate: Peak learning rate, after a warm-up of a tenth of the steps; decays to 0.
        batch_size: Number of tokens (or utterances) of each group in a batch.
        weight_decay: Weight decay of AdamW.
    """

    epochs: int
    learning_rate: float = 0.1
    batch_size: int = 32
    weight_decay: float = 0.01


def warmup_fraction(num_steps: int) -> float:
    """Fraction of the steps of a one-cycle schedule that are warm-up.

    A tenth; slightly more for exactly 10 steps, where torch's ``OneCycleLR`` would divide by 0.
    """
    return 0.11 if num_steps == 10 else 0.1


def one_cycle(
    optimizer: torch.optim.Optimizer, learning_rate: float, num_steps: int
) -> torch.optim.lr_scheduler.OneCycleLR:
    """The schedule of a number of steps: a warm-up over a tenth of them, then decay to 0."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        learning_rate,
        num_steps,
        pct_start=warmup_fraction(num_steps),
        cycle_momentum=False,
    )


def shuffled(
    groups: Sequence[Tensor], batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """One pass over groups of tokens in parallel, in random order.

    Args:
        groups: Indices of the tokens (or utterances) of each group; smaller groups are repeated.
        batch_size: Number of items of each group in a batch.
        generator: Random generator of the order.

    Yields:
        Indices of a batch, shape (groups, up to batch_size).
    """
    longest = max(len(group) for group in groups)
    orders = []
    for group in groups:
        order = group[torch.randperm(len(group), generator=generator)]
        orders.append(order.repeat(-(-longest // len(order)))[:longest])
    yield from torch.split(torch.stack(orders), batch_size, dim=1)


def fit(
    parameters: Iterable[nn.Parameter],
    groups: Sequence[Tensor],
    loss: Callable[[Tensor], Tensor],
    schedule: Schedule,
    seed: int,
) -> None:
    """Minimises a loss over batches of tokens.

    Args:
        parameters: Parameters to train; AdamW is elementwise, so parallel nets are independent.
        groups: See ``shuffled``.
        loss: Maps a batch of indices, shape (groups, batch), to the loss summed over the nets.
        schedule: The training schedule.
        seed: Random seed of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = schedule.epochs * -(-max(len(g) for g in groups) // schedule.batch_size)
    optimizer = torch.optim.AdamW(
        list(parameters), schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    scheduler = one_cycle(optimizer, schedule.learning_rate, steps)
    for _ in range(schedule.epochs):
        for chosen in shuffled(groups, schedule.batch_size, generator):
            optimizer.zero_grad()
            torch.autograd.backward(loss(chosen))
            optimizer.step()
            scheduler.step()
