"""Experts spread over the processes that train together: frames travel to those of theirs.

    frames --to the processes of their experts--> expert products --back--> sum by frame

A frame travels once to a process, however many of its experts are there, and comes back as their
weighted sum. Weights of experts are neither copied nor averaged between processes, and one process
needs memory for its own part only. Frames are those of all processes, so the gradient of an expert
is complete where it is.

Legend: R ranks (processes), N tokens, A assignments, E experts, C features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_to_all_single

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.expert_rows import Assignment
from phoneme_moe.system.ranks import num_ranks, this_rank


class SpreadExperts(ExpertFeedForward):
    """This rank's part of feed-forward experts; its state is that of all of them.

    ``state_dict`` and ``load_state_dict`` have the weights of all experts, so that checkpoints do
    not depend on the number of ranks. Every rank calls them, and ``forward``, at the same time.
    """

    def __init__(self, whole: ExpertFeedForward) -> None:
        """Takes this rank's part of experts that are equal on all ranks.

        Args:
            whole: All experts.

        Raises:
            InputError: Their number is not a multiple of that of the ranks.
        """
        nn.Module.__init__(self)
        if whole.num_experts % num_ranks():
            raise InputError(
                f"model.encoder.sparse.num_experts: found {whole.num_experts} experts to spread "
                f"over {num_ranks()} processes, expected a multiple of {num_ranks()}"
            )
        self.num_experts = whole.num_experts
        self.activation = whole.activation
        self.dropout = whole.dropout
        for name, weight in whole.named_parameters():
            part = nn.Parameter(own_part(weight.detach()), weight.requires_grad)
            # The mean over ranks, as of all other gradients (``ranks.global_sum``).
            # torch gives the method no types.
            part.register_hook(_mean_over_ranks)  # type: ignore[no-untyped-call]
            self.register_parameter(name, part)

    def whole(self) -> ExpertFeedForward:
        """All experts with their current weights, on every rank."""
        sizes = self.num_experts, self.weight_in.shape[1], self.weight_in.shape[2]
        experts = ExpertFeedForward(*sizes, self.activation, self.dropout)
        experts.load_state_dict(self.state_dict())
        return experts.to(self.weight_in.device).train(self.training)

    def forward(self, tokens: Tensor, assignment: Assignment) -> Tensor:
        """Computes the experts of each token of this rank; as ``expert_feed_forward``."""
        journey = _plan(assignment, len(tokens), self.num_experts)
        received = _exchange(tokens[journey.token], journey.rows)
        weight = _exchange(assignment.weight[journey.order], journey.assignments)
        row, expert = _exchange(journey.places, journey.assignments).unbind(dim=1)
        # Rows are numbered by the rank that sends them; those of the first rank come first.
        rows, assignments = (
            torch.tensor(counts.received, device=row.device)
            for counts in (journey.rows, journey.assignments)
        )
        row = row + torch.repeat_interleave(rows.cumsum(0) - rows, assignments)
        output = super().forward(received, Assignment(row, expert, weight))
        back = _exchange(output, journey.rows.reversed())
        return output.new_zeros(tokens.shape).index_add(0, journey.token, back)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, weight in self.named_parameters(recurse=False):
            destination[prefix + name] = all_parts(weight if keep_vars else weight.detach())

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *more: Any) -> None:
        own = {
            prefix + name: own_part(state_dict[prefix + name])
            for name, _ in self.named_parameters(recurse=False)
            if prefix + name in state_dict
        }
        super()._load_from_state_dict({**state_dict, **own}, prefix, *more)


def _mean_over_ranks(gradient: Tensor) -> Tensor:
    return gradient / num_ranks()


def own_part(whole: Tensor) -> Tensor:
    """This rank's part of a tensor whose first dimension is that of all experts."""
    return whole.chunk(num_ranks())[this_rank()].clone()


def all_parts(part: Tensor) -> Tensor:
    """The parts of all ranks, one after the other; without a gradient."""
    parts = [torch.empty_like(part) for _ in range(num_ranks())]
    distributed.all_gather(parts, part.detach().contiguous())
    return torch.cat(parts)


class _Counts(NamedTuple):
    """Numbers of rows that this rank sends to and receives from each rank."""

    sent: list[int]
    received: list[int]

    def reversed(self) -> _Counts:
        """Of the way back."""
        return _Counts(self.received, self.sent)


class _Journey(NamedTuple):
    """What travels where.

    Attributes:
        token: Token of every row that is sent, by rank, shape (rows,).
        order: Assignments by the rank of their expert, shape (assignments,).
        places: Row among those sent to the same rank, and index of the expert there, of the
            assignments in this order, shape (assignments, 2).
        rows: Numbers of rows.
        assignments: Numbers of assignments.
    """

    token: Tensor
    order: Tensor
    places: Tensor
    rows: _Counts
    assignments: _Counts


def _plan(assignment: Assignment, num_tokens: int, num_experts: int) -> _Journey:
    """Plans the journeys of tokens, each once to every rank that has an expert of it."""
    on_each = num_experts // num_ranks()
    rank = assignment.expert // on_each
    order = torch.argsort(rank, stable=True)
    rank = rank[order]
    pairs, pair = torch.unique(
        rank * num_tokens + assignment.token[order], return_inverse=True
    )  # sorted by rank
    rows = torch.bincount(pairs // num_tokens, minlength=num_ranks())
    assignments = torch.bincount(rank, minlength=num_ranks())
    row = pair - (rows.cumsum(0) - rows)[rank]
    places = torch.stack([row, assignment.expert[order] % on_each], dim=1)
    sent = torch.stack([rows, assignments], dim=1)
    received = torch.empty_like(sent)
    distributed.all_to_all_single(received, sent)
    return _Journey(
        pairs % num_tokens,
        order,
        places,
        _Counts(sent[:, 0].tolist(), received[:, 0].tolist()),
        _Counts(sent[:, 1].tolist(), received[:, 1].tolist()),
    )


def _exchange(rows: Tensor, counts: _Counts) -> Tensor:
    """Sends rows to all ranks and returns those that they send here, with a gradient."""
    received = rows.new_empty(sum(counts.received), *rows.shape[1:])
    if not rows.requires_grad:
        distributed.all_to_all_single(received, rows.contiguous(), counts.received, counts.sent)
        return received
    # torch gives the function no types.
    out: Tensor = all_to_all_single(  # type: ignore[no-untyped-call]
        received, rows.contiguous(), counts.received, counts.sent
    )
    return out
