"""Where each assignment's row lies, and the products of all experts on their rows.

Rows are laid out expert by expert. A GPU does all experts' products as one (``grouped_mm``). On a
CPU that computes one expert after the other, and small products keep two cores badly busy. There,
two experts that have about equally many rows are one batched product, with a few rows of padding:
any two lie at a fixed distance in memory, so that nothing is copied for it.

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
"""Two experts are one product if that adds no more rows of padding than this, about what a product
of its own costs beyond its arithmetic."""

ROW_STEP = 16
"""Products in 16 bits have a multiple of this many rows, and more rows come in greater steps
(``_rounded``): oneDNN compiles a kernel for every new size, of 0.4 MB, and keeps 1,024."""

STEPS_OF_A_DOUBLING = 8
"""Sizes from one number of rows to twice as many: at most an eighth is padding."""


@dataclass(frozen=True)
class Assignment:
    """Who computes what, and how much it counts; in any order.

    A token may have any number of experts, and an expert any number of tokens, none included.

    Attributes:
        token: Index of the token, int64, shape (assignments,).
        expert: Index of the expert, int64, shape (assignments,).
        weight: What the expert's output is multiplied by, shape (assignments,); differentiable.
    """

    token: Tensor
    expert: Tensor
    weight: Tensor


class Products(Protocol):
    """The products of all experts, each on its own rows; all operands are of ``dtype``."""

    dtype: torch.dtype

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """``rows @ weight + bias``: (S, C), (E, C, H), (E, H) to (S, H)."""
        ...

    def backward(self, rows: Tensor, weight: Tensor) -> Tensor:
        """``rows @ weight.T``: (S, H), (E, C, H) to (S, C)."""
        ...

    def outer(self, rows: Tensor, gradient: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
        """``rows.T @ gradient``: (S, C), (S, H) to (E, C, H), of the shape of ``like``."""
        ...


class _Tile(NamedTuple):
    """One product of one or two experts."""

    experts: slice
    rows: slice  # of them all
    shape: tuple[int, int, int]  # experts, rows of each, as many columns as there are


class _TiledProducts:
    """Products of one or two experts at a time; for any sizes, dtypes and devices."""

    def __init__(self, tiles: list[_Tile], empty: list[int], dtype: torch.dtype) -> None:
        self.tiles = tiles
        self.empty = empty  # experts without rows
        self.dtype = dtype

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out = rows.new_empty(len(rows), weight.shape[2])
        column = bias[:, None]
        for experts, where, shape in self.tiles:
            torch.baddbmm(
                column[experts],
                rows[where].view(shape),
                weight[experts],
                out=out[where].view(shape),
            )
        return out

    def backward(self, rows: Tensor, weight: Tensor) -> Tensor:
        out = rows.new_empty(len(rows), weight.shape[1])
        turned = weight.transpose(1, 2)
        for experts, where, shape in self.tiles:
            torch.bmm(rows[where].view(shape), turned[experts], out=out[where].view(shape))
        return out

    def outer(self, rows: Tensor, gradient: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
        out = torch.empty_like(like, dtype=dtype, memory_format=torch.contiguous_format)
        for experts, where, shape in self.tiles:
            turned = rows[where].view(shape).transpose(1, 2)
            if dtype == self.dtype:
                torch.bmm(turned, gradient[where].view(shape), out=out[experts])
            else:
                out[experts] = torch.bmm(turned, gradient[where].view(shape))
        if self.empty:
            out[self.empty] = 0
        return out


class _GroupedProducts:
    """All experts' products as one."""

    def __init__(self, ends: Tensor, dtype: torch.dtype) -> None:
        self.ends = ends  # row after the last of each expert, int32
        self.dtype = dtype

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out: Tensor = functional.grouped_mm(rows, weight, offs=self.ends)
        places = torch.arange(len(rows), device=rows.device, dtype=self.ends.dtype)
        expert = torch.searchsorted(self.ends, places, right=True)
        return out.add_(bias[expert])

    def backward(self, rows: Tensor, weight: Tensor) -> Tensor:
        out: Tensor = functional.grouped_mm(rows, weight.transpose(1, 2), offs=self.ends)
        return out

    def outer(self, rows: Tensor, gradient: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
        out: Tensor = functional.grouped_mm(rows.T, gradient, offs=self.ends)
        return out.to(dtype)


@dataclass(frozen=True)
class Layout:
    """Which row computes what.

    Attributes:
        products: Of the experts on their rows.
        token: Of each row, shape (rows,).
        token_of: Of each assignment, shape (assignments,).
        row: Of each assignment, shape (assignments,).
        sorting: What brings assignments into the order of tokens; None if they come so.
        bags: Place of each token's first assignment in that order, shape (tokens,).
        experts: In the order of their rows, shape (experts,).
        starts: First row of each, in that order.
    """

    products: Products
    token: Tensor
    token_of: Tensor
    row: Tensor
    sorting: Tensor | None
    bags: Tensor
    experts: Tensor
    starts: Tensor

    def by_token(self, values: Tensor) -> Tensor:
        """Brings one value for each assignment into the order of tokens."""
        return values if self.sorting is None else values[self.sorting]

    def combine(self, rows: Tensor, weight: Tensor | None = None) -> Tensor:
        """Each token's sum of its rows: (S, C), (A,) to (N, C)."""
        if weight is not None:
            weight = self.by_token(weight)
        return _sum_bags(rows, self.by_token(self.row), self.bags, weight)

    def spread(self, values: Tensor, weight: Tensor | None = None) -> Tensor:
        """Each row's token, times the weight of its assignment: (N, C), (A,) to (S, C).

        Rows of padding are zeros where there are weights.
        """
        if weight is None:
            return values.index_select(0, self.token)
        every = torch.arange(len(self.token), device=values.device)
        of_rows = weight.new_zeros(len(every)).index_copy_(0, self.row, weight)
        return _sum_bags(values, self.token, every, of_rows)  # in one pass

    def dot(self, rows: Tensor, values: Tensor) -> Tensor:
        """Of each assignment, its row times its token: (S, C), (N, C) to (A,), in one dtype."""
        # What embedding_bag does for the gradient of its weights: no products are written down.
        found: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            values, rows, self.row, self.bags, self.token_of, 0
        )
        return found

    def sum_experts(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Each expert's sum of its rows: (S, H) to (E, H)."""
        every = torch.arange(len(rows), device=rows.device)
        found = _sum_bags(rows, every, self.starts).to(dtype)
        return torch.empty_like(found).index_copy_(0, self.experts, found)


def _sum_bags(rows: Tensor, index: Tensor, bags: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sums of ``rows[index]`` from each of ``bags`` to the next: a gather that adds as it goes."""
    return functional.embedding_bag(index, rows, bags, mode="sum", per_sample_weights=weight)


def lay_out(
    assignment: Assignment, num_tokens: int, num_experts: int, dtype: torch.dtype, grouped: bool
) -> Layout:
    """Gives each assignment a row, so that the rows of an expert follow each other."""
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
        # Padding repeats the row before it, which is the same expert's.
        last = order.new_zeros(num_rows).index_copy_(0, row, row).cummax(0).values
        row_token = token.new_zeros(num_rows).index_copy_(0, row, token)[last]
    sorting = None
    if token.is_cuda or bool((token[1:] < token[:-1]).any()):
        sorting = torch.argsort(token, stable=True)
    per_token = torch.bincount(token, minlength=num_tokens)
    bags = per_token.cumsum(0) - per_token
    return Layout(products, row_token, token, row, sorting, bags, experts, starts)


def _tile(
    load: Sequence[int], dtype: torch.dtype
) -> tuple[_TiledProducts, list[int], list[int], int]:
    """Chooses the experts that are computed together.

    Returns:
        Their products, the experts in the order of their rows, the first row of each in that order,
        and how many rows there are.
    """
    order = sorted(range(len(load)), key=load.__getitem__, reverse=True)
    tiles: list[_Tile] = []
    first_rows: list[int] = []
    start = first = 0
    while first < len(order):
        most = load[order[first]]
        together = order[first : first + 2]
        if not load[together[-1]] or most - load[together[-1]] > SPARE_ROWS:
            together = together[:1]
        together.sort()  # as a slice has them
        count, last = len(together), first + len(together)
        rows = _rounded(most) if dtype.itemsize == 2 else most
        if rows:
            experts = slice(together[0], together[-1] + 1, max(1, together[-1] - together[0]))
            tiles.append(_Tile(experts, slice(start, start + count * rows), (count, rows, -1)))
        order[first:last] = together
        first_rows += [start + number * rows for number in range(count)]
        start, first = start + count * rows, last
    empty = [expert for expert, rows in enumerate(load) if not rows]
    return _TiledProducts(tiles, empty, dtype), order, first_rows, start


def _rounded(rows: int) -> int:
    """The next number of rows that products in 16 bits have."""
    step = max(ROW_STEP, (1 << rows.bit_length()) // (2 * STEPS_OF_A_DOUBLING))
    return -(-rows // step) * step


def grouped_mm_applies(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether ``grouped_mm`` takes experts of this kind and is worth it."""
    aligned = all(size * dtype.itemsize % 16 == 0 for size in weight.shape[1:])
    if not (weight.is_cuda and aligned and dtype in {torch.float32, torch.bfloat16}):
        return False
    return torch.cuda.get_device_capability(weight.device) >= (8, 0)
