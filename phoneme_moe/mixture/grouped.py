"""Feed-forward experts that compute only what was assigned to them.

Assignments are laid out expert by expert, every expert's products are computed on its own rows, and
each token sums what its experts said. Where the sizes allow it, a GPU does all experts' products as
one (``grouped_mm``). A CPU takes them two at a time, the two that have about equally many rows as
one batched product, one for each core: a single small product does not occupy two cores, and
``grouped_mm`` took half as long again at 60 rows an expert. Because only neighbours by load are
paired, hardly any row is padding, whatever the routing.

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
"""Two experts are computed as one product if one of them gets no more rows of padding than this,
about what a product alone costs beyond its arithmetic."""

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
    """One product: one expert, or two of about equally many rows."""

    experts: slice  # of one, or of two with the step between them: a view of any two
    rows: slice  # of both experts together
    shape: tuple[int, int, int]  # experts, rows of each, as many columns as there are


class _TiledProducts:
    """Products of one or two experts at a time; for any sizes, dtypes and devices."""

    def __init__(self, tiles: list[_Tile], empty: list[int], dtype: torch.dtype) -> None:
        self.tiles = tiles
        self.empty = empty
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
        same = like.dtype == self.dtype
        for experts, where, shape in self.tiles:
            turned = rows[where].view(shape).transpose(1, 2)
            if same:
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
        experts: In the order of their rows, those without rows left out.
        starts: First row of each of these.
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
        found = _sum_bags(rows, every, self.starts)
        return torch.zeros_like(like).index_copy_(0, self.experts, found.to(like.dtype))


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
    ends = load.cumsum(0)
    products: _Products
    if grouped:
        products = _GroupedProducts(ends.int(), dtype)
        row, row_token = torch.empty_like(order), token[order]
        row[order] = place
        experts, starts = torch.arange(num_experts, device=order.device), ends - load
    else:
        tiled, first_rows, num_rows = _tile(load.tolist(), dtype)
        products = tiled
        experts = torch.tensor(list(first_rows), device=order.device, dtype=torch.int64)
        starts = torch.tensor(list(first_rows.values()), device=order.device, dtype=torch.int64)
        shift = (load - ends).index_add_(0, experts, starts)
        row = torch.empty_like(order)
        row[order] = place + shift[expert[order]]
        row_token = _fill_padding(token, row, num_rows)
    sorting = None
    if token.is_cuda or bool((token[1:] < token[:-1]).any()):
        sorting = torch.argsort(token, stable=True)
    per_token = torch.bincount(token, minlength=num_tokens)
    return _Layout(
        products, row_token, row, sorting, per_token.cumsum(0) - per_token, experts, starts
    )


def _fill_padding(token: Tensor, row: Tensor, num_rows: int) -> Tensor:
    """Token of each row; a row of padding repeats the one before it, which is the same expert's."""
    if num_rows == len(row):
        return torch.empty_like(token).index_copy_(0, row, token)
    last = row.new_zeros(num_rows)
    last[row] = row
    filled = token.new_zeros(num_rows).index_copy_(0, row, token)
    return filled[last.cummax(0).values]


def _tile(load: Sequence[int], dtype: torch.dtype) -> tuple[_TiledProducts, dict[int, int], int]:
    """Pairs experts of about equal load.

    Returns:
        Their products, the first row of each expert that has rows, and how many rows there are.
    """
    step = ROW_STEP if dtype.itemsize == 2 else 1
    waiting = sorted((e for e, rows in enumerate(load) if rows), key=load.__getitem__)
    tiles, first_rows, start = [], {}, 0
    while waiting:
        pair = [waiting.pop()]
        rows = -(-load[pair[0]] // step) * step
        if waiting and rows - load[waiting[-1]] <= SPARE_ROWS:
            pair.append(waiting.pop())
            pair.sort()
        tile = slice(pair[0], pair[-1] + 1, max(pair[-1] - pair[0], 1))
        tiles.append(_Tile(tile, slice(start, start + rows * len(pair)), (len(pair), rows, -1)))
        for expert in pair:
            first_rows[expert] = start
            start += rows
    empty = [e for e, rows in enumerate(load) if not rows]
    return _TiledProducts(tiles, empty, dtype), first_rows, start


def _grouped_mm_applies(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether ``grouped_mm`` takes experts of this kind and is worth it."""
    aligned = all(size * dtype.itemsize % 16 == 0 for size in weight.shape[1:])
    return weight.is_cuda and aligned and dtype in {torch.float32, torch.bfloat16}


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
