"""Feed-forward experts that compute only what was assigned to them.

Assignments are laid out expert by expert, every expert's products are computed on its own rows, and
each token sums what its experts said. A GPU does all experts' products as one (``grouped_mm``). On
a CPU that computes one expert after the other, and small products keep two cores badly busy. There,
a few experts that have about equally many rows are one batched product, with some rows of padding.

Legend: N tokens, A assignments, S rows (slots) of all experts, E experts, C features, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Activation = Literal["relu", "silu"]

SPARE_ROWS = 64
"""An expert joins its neighbours' product if that adds no more rows of padding than this, about
what a product of its own costs beyond its arithmetic."""

MOST_TOGETHER = 8
"""Experts in one product; more gained nothing."""

WORTH_A_COPY = 128
"""From so many rows an expert, experts of equal load are computed together wherever they are: their
weights are copied side by side. Below, copies cost more than padding, and only neighbours join."""

ROW_STEP = 16
"""Products in 16 bits have a multiple of this many rows: oneDNN compiles a kernel for every new
size."""


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


def expert_feed_forward(
    tokens: Tensor,
    assignment: Assignment,
    weight_in: Tensor,
    bias_in: Tensor,
    weight_out: Tensor,
    bias_out: Tensor,
    activation: Activation = "relu",
) -> Tensor:
    """Each token's sum over its experts of ``weight * (act(x W_in + b_in) W_out + b_out)``.

    Under autocast the products are computed in its dtype; sums over experts never are. It can be
    differentiated once.

    Args:
        tokens: Shape (tokens, features).
        assignment: Which experts each token has.
        weight_in: Shape (experts, features, hidden).
        bias_in: Shape (experts, hidden).
        weight_out: Shape (experts, hidden, features).
        bias_out: Shape (experts, features).
        activation: Of the hidden units.

    Returns:
        In the dtype of the parameters, shape (tokens, features); zeros for a token without expert.
    """
    device = tokens.device.type
    dtype = weight_in.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    weight = assignment.weight.to(weight_in.dtype)
    parameters = (weight_in, bias_in, weight_out, bias_out)
    if len(weight) == 0:  # of no rows, but in the graph
        nothing = sum(part.sum() * 0 for part in (weight, *parameters))
        return tokens.to(weight_in.dtype) * 0 + nothing
    grouped = _grouped_mm_applies(weight_in, dtype)
    layout = _lay_out(assignment, len(tokens), len(weight_in), dtype, grouped)
    out: Tensor = _FeedForward.apply(  # type: ignore[no-untyped-call]
        tokens, weight, *parameters, activation, layout
    )
    return out


class ExpertFeedForward(nn.Module):
    """Feed-forward experts of one hidden layer, initialised as ``nn.Linear`` is."""

    def __init__(
        self,
        num_experts: int,
        num_features: int,
        hidden: int,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.num_experts = num_experts
        self.activation: Activation = activation
        inner, outer = num_features**-0.5, hidden**-0.5
        self.weight_in = nn.Parameter(_uniform(inner, num_experts, num_features, hidden))
        self.bias_in = nn.Parameter(_uniform(inner, num_experts, hidden))
        self.weight_out = nn.Parameter(_uniform(outer, num_experts, hidden, num_features))
        self.bias_out = nn.Parameter(_uniform(outer, num_experts, num_features))

    def forward(self, tokens: Tensor, assignment: Assignment) -> Tensor:
        """Computes each token's experts; shapes as in ``expert_feed_forward``."""
        return expert_feed_forward(
            tokens,
            assignment,
            self.weight_in,
            self.bias_in,
            self.weight_out,
            self.bias_out,
            self.activation,
        )

    def of_equal_groups(self, rows: Tensor) -> Tensor:
        """Every expert on rows of its own, equally many: one batched product.

        Args:
            rows: Shape (experts, rows, features).

        Returns:
            Same shape, without weights.
        """
        hidden = rows @ self.weight_in + self.bias_in[:, None]
        hidden = functional.relu(hidden) if self.activation == "relu" else functional.silu(hidden)
        return hidden @ self.weight_out + self.bias_out[:, None]


def _uniform(bound: float, *shape: int) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound)


# Each activation with its gradient, given the gradient of its result, its input and its result.
# Rectified units overwrite their input, of which nothing more is needed.
_ACTIVATIONS: dict[
    Activation, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor, Tensor], Tensor]]
] = {
    "relu": (
        torch.relu_,
        lambda gradient, before, after: torch.ops.aten.threshold_backward(gradient, after, 0),
    ),
    "silu": (
        functional.silu,
        lambda gradient, before, after: torch.ops.aten.silu_backward(gradient, before),
    ),
}


class _Products(Protocol):
    """The products of all experts, each on its own rows."""

    dtype: torch.dtype

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """``rows @ weight + bias``: (S, C), (E, C, H), (E, H) to (S, H)."""
        ...

    def backward(self, rows: Tensor, weight: Tensor) -> Tensor:
        """``rows @ weight.T``: (S, H), (E, C, H) to (S, C)."""
        ...

    def outer(self, rows: Tensor, gradient: Tensor, like: Tensor) -> Tensor:
        """``rows.T @ gradient``: (S, C), (S, H) to (E, C, H), in the dtype of ``like``."""
        ...


class _Tile(NamedTuple):
    """One product of several experts."""

    experts: slice | Tensor  # a slice needs no copy of their weights
    rows: slice  # of them all
    shape: tuple[int, int, int]  # experts, rows of each, as many columns as there are


class _TiledProducts:
    """Products of a few experts at a time; for any sizes, dtypes and devices."""

    def __init__(self, tiles: list[_Tile], empty: list[int], dtype: torch.dtype) -> None:
        self.tiles = tiles
        self.empty = empty  # experts without rows
        self.dtype = dtype

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out = rows.new_empty(len(rows), weight.shape[2])
        dtype, column = self.dtype, bias[:, None]
        for experts, where, shape in self.tiles:
            torch.baddbmm(
                column[experts].to(dtype),
                rows[where].view(shape),
                weight[experts].to(dtype),
                out=out[where].view(shape),
            )
        return out

    def backward(self, rows: Tensor, weight: Tensor) -> Tensor:
        out = rows.new_empty(len(rows), weight.shape[1])
        dtype, turned = self.dtype, weight.transpose(1, 2)
        for experts, where, shape in self.tiles:
            torch.bmm(
                rows[where].view(shape), turned[experts].to(dtype), out=out[where].view(shape)
            )
        return out

    def outer(self, rows: Tensor, gradient: Tensor, like: Tensor) -> Tensor:
        out = torch.empty_like(like, memory_format=torch.contiguous_format)
        for experts, where, shape in self.tiles:
            turned = rows[where].view(shape).transpose(1, 2)
            if like.dtype == self.dtype and isinstance(experts, slice):
                torch.bmm(turned, gradient[where].view(shape), out=out[experts])
            else:
                out[experts] = torch.bmm(turned, gradient[where].view(shape)).to(like.dtype)
        if self.empty:
            out[self.empty] = 0
        return out


class _GroupedProducts:
    """All experts' products as one."""

    def __init__(self, ends: Tensor, dtype: torch.dtype) -> None:
        self.ends = ends  # row after the last of each expert, int32
        self.dtype = dtype

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out: Tensor = functional.grouped_mm(rows, weight.to(self.dtype), offs=self.ends)
        places = torch.arange(len(rows), device=rows.device, dtype=self.ends.dtype)
        expert = torch.searchsorted(self.ends, places, right=True)
        return out.add_(bias.to(self.dtype)[expert])

    def backward(self, rows: Tensor, weight: Tensor) -> Tensor:
        turned = weight.to(self.dtype).transpose(1, 2)
        out: Tensor = functional.grouped_mm(rows, turned, offs=self.ends)
        return out

    def outer(self, rows: Tensor, gradient: Tensor, like: Tensor) -> Tensor:
        out: Tensor = functional.grouped_mm(rows.T, gradient, offs=self.ends)
        return out.to(like.dtype)


@dataclass(frozen=True)
class _Layout:
    """Which row computes what.

    Attributes:
        products: Of the experts on their rows.
        token: Of each row, shape (rows,).
        row: Of each assignment, shape (assignments,).
        sorting: What brings assignments into the order of tokens; None if they come so.
        bags: Place of each token's first assignment in that order, shape (tokens,).
        experts: In the order of their rows, shape (experts,).
        starts: First row of each, in that order.
    """

    products: _Products
    token: Tensor
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

    def sum_experts(self, rows: Tensor, like: Tensor) -> Tensor:
        """Each expert's sum of its rows: (S, H) to (E, H)."""
        every = torch.arange(len(rows), device=rows.device)
        found = _sum_bags(rows, every, self.starts).to(like.dtype)
        return torch.empty_like(like).index_copy_(0, self.experts, found)


def _sum_bags(rows: Tensor, index: Tensor, bags: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sums of ``rows[index]`` from each of ``bags`` to the next: a gather that adds as it goes."""
    return functional.embedding_bag(index, rows, bags, mode="sum", per_sample_weights=weight)


def _lay_out(
    assignment: Assignment, num_tokens: int, num_experts: int, dtype: torch.dtype, grouped: bool
) -> _Layout:
    """Gives each assignment a row, so that the rows of an expert follow each other."""
    token, expert = assignment.token, assignment.expert
    load = torch.bincount(expert, minlength=num_experts)
    order = torch.argsort(expert, stable=True)
    place = torch.arange(len(order), device=order.device)
    before = load.cumsum(0) - load
    products: _Products
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
    return _Layout(products, row_token, row, sorting, bags, experts, starts)


def _tile(
    load: Sequence[int], dtype: torch.dtype
) -> tuple[_TiledProducts, list[int], list[int], int]:
    """Chooses the experts that are computed together.

    Returns:
        Their products, the experts in the order of their rows, the first row of each in that order,
        and how many rows there are.
    """
    step = ROW_STEP if dtype.itemsize == 2 else 1
    order = list(range(len(load)))
    if sum(load) >= WORTH_A_COPY * len(load):
        order.sort(key=load.__getitem__, reverse=True)
    tiles: list[_Tile] = []
    first_rows: list[int] = []
    start = first = 0
    while first < len(order):
        most, last = load[order[first]], first + 1
        while most and last < min(len(order), first + MOST_TOGETHER):
            rows = load[order[last]]
            if not rows or max(most - rows, (rows - most) * (last - first)) > SPARE_ROWS:
                break
            most, last = max(most, rows), last + 1
        together, rows = order[first:last], -(-most // step) * step
        stop = start + len(together) * rows
        if rows:
            neighbours = range(together[0], together[0] + len(together))
            experts: slice | Tensor = slice(neighbours.start, neighbours.stop)
            if together != list(neighbours):
                experts = torch.tensor(together)
            tiles.append(_Tile(experts, slice(start, stop), (len(together), rows, -1)))
        first_rows += [start + number * rows for number in range(len(together))]
        start, first = stop, last
    empty = [expert for expert, rows in enumerate(load) if not rows]
    return _TiledProducts(tiles, empty, dtype), order, first_rows, start


def _grouped_mm_applies(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether ``grouped_mm`` takes experts of this kind and is worth it."""
    aligned = all(size * dtype.itemsize % 16 == 0 for size in weight.shape[1:])
    if not (weight.is_cuda and aligned and dtype in {torch.float32, torch.bfloat16}):
        return False
    return torch.cuda.get_device_capability(weight.device) >= (8, 0)


class _FeedForward(torch.autograd.Function):
    """The whole layer at once: what is between the products is kept and passed over only once."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        weight: Tensor,
        weight_in: Tensor,
        bias_in: Tensor,
        weight_out: Tensor,
        bias_out: Tensor,
        activation: Activation,
        layout: _Layout,
    ) -> Tensor:
        ctx.activation, ctx.layout = activation, layout
        products = layout.products
        activate, _ = _ACTIVATIONS[activation]
        with torch.autocast(tokens.device.type, enabled=False):
            rows = tokens.index_select(0, layout.token).to(products.dtype)  # (S, C)
            before = products.linear(rows, weight_in, bias_in)  # (S, H)
            after = activate(before)
            said = products.linear(after, weight_out, bias_out)  # (S, C)
            ctx.save_for_backward(
                tokens, weight, weight_in, bias_in, weight_out, bias_out, before, after, said
            )
            return layout.combine(said.to(weight.dtype), weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        tokens, weight, weight_in, bias_in, weight_out, bias_out, before, after, said = saved
        layout, products = ctx.layout, ctx.layout.products
        _, activation_backward = _ACTIVATIONS[ctx.activation]
        needed = ctx.needs_input_grad
        for_tokens = for_weight = for_in = for_bias_in = for_out = for_bias_out = None
        with torch.autocast(tokens.device.type, enabled=False):
            of_said = gradient.index_select(0, layout.token)  # (S, C)
            if needed[1]:
                for_weight = (said * of_said).sum(dim=1)[layout.row]
            row_weight = weight.new_zeros(len(of_said)).index_copy_(0, layout.row, weight)
            of_said = of_said.mul_(row_weight[:, None])
            if needed[5]:
                for_bias_out = layout.sum_experts(of_said, bias_out)
            of_said = of_said.to(products.dtype)
            if needed[4]:
                for_out = products.outer(after, of_said, weight_out)
            if any(needed[:1] + needed[2:4]):
                of_after = products.backward(of_said, weight_out)  # (S, H)
                of_before = activation_backward(of_after, before, after)
                if needed[3]:
                    for_bias_in = layout.sum_experts(of_before, bias_in)
                if needed[2]:
                    rows = tokens.index_select(0, layout.token).to(products.dtype)
                    for_in = products.outer(rows, of_before, weight_in)
                if needed[0]:
                    of_rows = products.backward(of_before, weight_in)  # (S, C)
                    for_tokens = layout.combine(of_rows.to(tokens.dtype))
        return for_tokens, for_weight, for_in, for_bias_in, for_out, for_bias_out, None, None
