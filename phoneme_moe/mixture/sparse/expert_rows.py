"""Layout of the tokens in rows by expert, and the products of all experts with their rows.

Rows are arranged expert by expert. A GPU computes the products of all experts at once
(``grouped_mm``). On a CPU that would compute one expert after the other, and small products use two
cores poorly. There, two experts with similar numbers of rows share a batched product, with a few
rows of padding; any two experts are a strided slice in memory, so nothing is copied.

Legend: N tokens, A assignments, S rows (slots) of all experts, E experts, C features, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

SPARE_ROWS = 64
"""Two experts share a product if that adds at most this many rows of padding, roughly the overhead
of a separate product."""

ROW_STEP = 16
"""The number of rows of a product in 16 bits is a multiple of this, with larger steps for more rows
(``_rounded``), because oneDNN compiles a kernel of 0.4 MB for every size and keeps 1,024."""

STEPS_OF_A_DOUBLING = 8
"""Sizes between a number of rows and its double; at most an eighth of the rows is padding."""


@dataclass(frozen=True)
class Assignment:
    """Assignment of tokens to experts, with weights; in any order.

    A token may have any number of experts, and an expert any number of tokens, including none.

    Attributes:
        token: Index of the token, int64, shape (assignments,).
        expert: Index of the expert, int64, shape (assignments,).
        weight: Factor on the output of the expert, shape (assignments,); differentiable.
    """

    token: Tensor
    expert: Tensor
    weight: Tensor


class Products(Protocol):
    """Matrix products of all experts, each with its rows; all operands have the dtype ``dtype``."""

    dtype: torch.dtype

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """``rows @ weight + bias``: (S, C), (E, C, H), (E, H) to (S, H)."""
        ...

    def input_gradient(self, rows: Tensor, weight: Tensor) -> Tensor:
        """``rows @ weight.T``: (S, H), (E, C, H) to (S, C)."""
        ...

    def weight_gradient(
        self, rows: Tensor, gradient: Tensor, like: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """``rows.T @ gradient``: (S, C), (S, H) to (E, C, H), of the shape of ``like``."""
        ...


class _Tile(NamedTuple):
    """One product of one or two experts."""

    experts: slice
    rows: slice  # of all rows
    shape: tuple[int, int, int]  # (experts, rows of each, -1 for the columns)


class _TiledProducts:
    """Products of one or two experts at a time, for any sizes, dtypes and devices."""

    def __init__(self, tiles: list[_Tile], empty: list[int], dtype: torch.dtype) -> None:
        self.tiles = tiles
        self.empty = empty  # experts without rows
        self.dtype = dtype

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out = rows.new_empty(len(rows), weight.shape[2])
        column = bias[:, None]
        for experts, tile_rows, shape in self.tiles:
            torch.baddbmm(
                column[experts],
                rows[tile_rows].view(shape),
                weight[experts],
                out=out[tile_rows].view(shape),
            )
        return out

    def input_gradient(self, rows: Tensor, weight: Tensor) -> Tensor:
        out = rows.new_empty(len(rows), weight.shape[1])
        transposed = weight.transpose(1, 2)
        for experts, tile_rows, shape in self.tiles:
            torch.bmm(
                rows[tile_rows].view(shape), transposed[experts], out=out[tile_rows].view(shape)
            )
        return out

    def weight_gradient(
        self, rows: Tensor, gradient: Tensor, like: Tensor, dtype: torch.dtype
    ) -> Tensor:
        out = torch.empty_like(like, dtype=dtype, memory_format=torch.contiguous_format)
        for experts, tile_rows, shape in self.tiles:
            transposed = rows[tile_rows].view(shape).transpose(1, 2)
            if dtype == self.dtype:
                torch.bmm(transposed, gradient[tile_rows].view(shape), out=out[experts])
            else:
                out[experts] = torch.bmm(transposed, gradient[tile_rows].view(shape))
        if self.empty:
            out[self.empty] = 0
        return out


class _GroupedProducts:
    """Products of all experts at once."""

    def __init__(self, ends: Tensor, dtype: torch.dtype) -> None:
        self.ends = ends  # end of the rows of each expert, int32
        self.dtype = dtype

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out: Tensor = functional.grouped_mm(rows, weight, offs=self.ends)
        places = torch.arange(len(rows), device=rows.device, dtype=self.ends.dtype)
        expert = torch.searchsorted(self.ends, places, right=True)
        return out.add_(bias[expert])

    def input_gradient(self, rows: Tensor, weight: Tensor) -> Tensor:
        out: Tensor = functional.grouped_mm(rows, weight.transpose(1, 2), offs=self.ends)
        return out

    def weight_gradient(
        self, rows: Tensor, gradient: Tensor, like: Tensor, dtype: torch.dtype
    ) -> Tensor:
        out: Tensor = functional.grouped_mm(rows.T, gradient, offs=self.ends)
        return out.to(dtype)


@dataclass(frozen=True)
class RowPlan:
    """Mapping between assignments and rows.

    Attributes:
        products: Products of the experts with their rows.
        row_token: Token of each row, shape (rows,).
        assignment_token: Token of each assignment, shape (assignments,).
        assignment_row: Row of each assignment, shape (assignments,).
        token_order: Permutation that sorts assignments by token; None if they are sorted.
        segments: Position of each token's first assignment in that order, shape (tokens,).
        expert_order: Experts in the order of their rows, shape (experts,).
        expert_starts: First row of each, in that order, shape (experts,).
    """

    products: Products
    row_token: Tensor
    assignment_token: Tensor
    assignment_row: Tensor
    token_order: Tensor | None
    segments: Tensor
    expert_order: Tensor
    expert_starts: Tensor

    def sort_by_token(self, values: Tensor) -> Tensor:
        """Sorts values of the assignments by token."""
        return values if self.token_order is None else values[self.token_order]

    def gather(self, values: Tensor, weight: Tensor | None = None) -> Tensor:
        """The token of each row, times the weight of its assignment: (N, C), (A,) to (S, C).

        With weights, rows of padding are zeros.
        """
        if weight is None:
            return values.index_select(0, self.row_token)
        every = torch.arange(len(self.row_token), device=values.device)
        row_weight = weight.new_zeros(len(every)).index_copy_(0, self.assignment_row, weight)
        return _sum_segments(values, self.row_token, every, row_weight)  # in one pass

    def sum_by_token(self, rows: Tensor, weight: Tensor | None = None) -> Tensor:
        """Sums the rows of each token: (S, C), (A,) to (N, C)."""
        if weight is not None:
            weight = self.sort_by_token(weight)
        index = self.sort_by_token(self.assignment_row)
        return _sum_segments(rows, index, self.segments, weight)

    def sum_by_expert(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Sums the rows of each expert: (S, H) to (E, H)."""
        every = torch.arange(len(rows), device=rows.device)
        sums = _sum_segments(rows, every, self.expert_starts).to(dtype)
        return torch.empty_like(sums).index_copy_(0, self.expert_order, sums)

    def dot(self, rows: Tensor, values: Tensor) -> Tensor:
        """Dot product of the row and token of each assignment: (S, C), (N, C) to (A,)."""
        # The weight gradient of embedding_bag, which does not store the elementwise products.
        products: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            values, rows, self.assignment_row, self.segments, self.assignment_token, 0
        )
        return products


def _sum_segments(
    rows: Tensor, index: Tensor, segments: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Sums ``rows[index]`` within each segment, without storing the gathered rows."""
    return functional.embedding_bag(index, rows, segments, mode="sum", per_sample_weights=weight)


def plan_rows(
    assignment: Assignment, num_tokens: int, num_experts: int, dtype: torch.dtype, grouped: bool
) -> RowPlan:
    """Assigns a row to each assignment, such that the rows of an expert are consecutive."""
    token, expert = assignment.token, assignment.expert
    load = torch.bincount(expert, minlength=num_experts)
    order = torch.argsort(expert, stable=True)
    place = torch.arange(len(order), device=order.device)
    before = load.cumsum(0) - load
    products: Products
    if grouped:
        products = _GroupedProducts((before + load).int(), dtype)
        row = torch.empty_like(order).index_copy_(0, order, place)
        row_token, starts = token[order], before
        experts = torch.arange(num_experts, device=order.device)
    else:
        products, in_order, first_rows, num_rows = _tile(load.tolist(), dtype)
        experts = torch.tensor(in_order, device=order.device)
        starts = torch.tensor(first_rows, device=order.device)
        shift = torch.empty_like(load).index_copy_(0, experts, starts) - before
        row = torch.empty_like(order).index_copy_(0, order, place + shift[expert[order]])
        # Padding repeats the preceding row, which belongs to the same expert.
        last = order.new_zeros(num_rows).index_copy_(0, row, row).cummax(0).values
        row_token = token.new_zeros(num_rows).index_copy_(0, row, token)[last]
    token_order = None
    if token.is_cuda or bool((token[1:] < token[:-1]).any()):
        token_order = torch.argsort(token, stable=True)
    per_token = torch.bincount(token, minlength=num_tokens)
    segments = per_token.cumsum(0) - per_token
    return RowPlan(products, row_token, token, row, token_order, segments, experts, starts)


def _tile(
    load: Sequence[int], dtype: torch.dtype
) -> tuple[_TiledProducts, list[int], list[int], int]:
    """Selects the experts that share a product.

    Returns:
        The products, the experts in the order of their rows, the first row of each in that order,
        and the number of rows.
    """
    by_load = sorted(range(len(load)), key=load.__getitem__, reverse=True)
    tiles: list[_Tile] = []
    row_order: list[int] = []
    first_rows: list[int] = []
    start = 0
    while len(row_order) < len(load):
        most = load[by_load[len(row_order)]]
        together = by_load[len(row_order) : len(row_order) + 2]
        if not load[together[-1]] or most - load[together[-1]] > SPARE_ROWS:
            together = together[:1]
        together.sort()  # in the order of a slice
        count = len(together)
        rows = _rounded(most) if dtype.itemsize == 2 else most
        if rows:
            end = start + count * rows
            tiles.append(_Tile(_slice_of(together), slice(start, end), (count, rows, -1)))
        row_order += together
        first_rows += [start + number * rows for number in range(count)]
        start += count * rows
    empty = [expert for expert, rows in enumerate(load) if not rows]
    return _TiledProducts(tiles, empty, dtype), row_order, first_rows, start


def _slice_of(experts: Sequence[int]) -> slice:
    """One expert, or two in ascending order, as a slice, which is a view instead of a copy."""
    first, last = experts[0], experts[-1]
    return slice(first, last + 1, max(1, last - first))


def _rounded(rows: int) -> int:
    """Number of rows, rounded up for products in 16 bits."""
    step = max(ROW_STEP, (1 << rows.bit_length()) // (2 * STEPS_OF_A_DOUBLING))
    return -(-rows // step) * step


def grouped_mm_applies(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether ``grouped_mm`` supports these experts and is faster."""
    aligned = all(size * dtype.itemsize % 16 == 0 for size in weight.shape[1:])
    if not (weight.is_cuda and aligned and dtype in {torch.float32, torch.bfloat16}):
        return False
    return torch.cuda.get_device_capability(weight.device) >= (8, 0)
