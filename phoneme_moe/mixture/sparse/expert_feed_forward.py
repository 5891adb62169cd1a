"""Feed-forward experts that compute only the tokens assigned to them.

The tokens of each expert are gathered into consecutive rows (``mixture.sparse.expert_rows``), the
products of every expert are computed on its rows, and the outputs are summed by token.

Legend: N tokens, A assignments, S rows (slots) of all experts, E experts, C features, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from phoneme_moe.mixture.sparse.expert_rows import (
    Assignment,
    RowPlan,
    grouped_mm_applies,
    plan_rows,
)

Activation = Literal["relu", "silu"]

SMALL_PRODUCT = 4_000_000
"""Mean multiply-adds of an expert's product below which a CPU computes it in float32 even under
autocast, since conversion to 16 bits takes longer than the arithmetic it saves. Measured with 16
and 32 experts of 96 to 256 units: float32 is equally fast at this size and 1.5 times as fast at an
eighth of it."""


def expert_feed_forward(
    tokens: Tensor,
    assignment: Assignment,
    weight_in: Tensor,
    bias_in: Tensor,
    weight_out: Tensor,
    bias_out: Tensor,
    activation: Activation = "relu",
) -> Tensor:
    """Sums, for each token, ``weight * (act(x W_in + b_in) W_out + b_out)`` over its experts.

    Under autocast the products are computed in its dtype (on a CPU only large ones,
    ``SMALL_PRODUCT``), but not the sums over experts. It is differentiable once.

    Args:
        tokens: Shape (tokens, features).
        assignment: The experts of each token.
        weight_in: Shape (experts, features, hidden).
        bias_in: Shape (experts, hidden).
        weight_out: Shape (experts, hidden, features).
        bias_out: Shape (experts, features).
        activation: Activation function of the hidden units.

    Returns:
        In the dtype of the parameters, shape (tokens, features); zeros for tokens without an
        expert.
    """
    dtype = _products_dtype(tokens.device.type, len(assignment.expert), weight_in)
    weight = assignment.weight.to(weight_in.dtype)
    parameters = (weight_in, bias_in, weight_out, bias_out)
    if torch.onnx.is_in_onnx_export():
        return _one_by_one(tokens, assignment, *parameters, activation)
    if len(weight) == 0:  # no rows, but part of the autograd graph
        nothing = sum(part.sum() * 0 for part in (weight, *parameters))
        return tokens.to(weight_in.dtype) * 0 + nothing
    grouped = grouped_mm_applies(weight_in, dtype)
    plan = plan_rows(assignment, len(tokens), len(weight_in), dtype, grouped)
    # torch leaves ``apply`` without types.
    out: Tensor = _FeedForward.apply(  # type: ignore[no-untyped-call]
        tokens, weight, *parameters, activation, plan
    )
    return out


def _products_dtype(device: str, num_assignments: int, weight_in: Tensor) -> torch.dtype:
    num_experts, num_features, hidden = weight_in.shape
    multiply_adds = num_assignments / num_experts * num_features * hidden
    small = device == "cpu" and multiply_adds < SMALL_PRODUCT
    if small or not torch.is_autocast_enabled(device):
        return weight_in.dtype
    return torch.get_autocast_dtype(device)


def _one_by_one(
    tokens: Tensor,
    assignment: Assignment,
    weight_in: Tensor,
    bias_in: Tensor,
    weight_out: Tensor,
    bias_out: Tensor,
    activation: Activation,
) -> Tensor:
    """The same in ONNX operations: one expert after the other, each on its rows."""
    activate = functional.relu if activation == "relu" else functional.silu
    out = torch.zeros_like(tokens)
    for expert in range(weight_in.shape[0]):
        assigned = (assignment.expert == expert).nonzero()[:, 0]
        token = assignment.token[assigned]  # unique: a token selects an expert once
        hidden = activate(tokens[token] @ weight_in[expert] + bias_in[expert])
        output = hidden @ weight_out[expert] + bias_out[expert]
        out = out.index_add(0, token, output * assignment.weight[assigned, None])
    return out


class ExpertFeedForward(nn.Module):
    """Feed-forward experts of one hidden layer, initialised as ``nn.Linear`` is."""

    def __init__(
        self,
        num_experts: int,
        num_features: int,
        hidden: int,
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        """Creates the experts with initial weights.

        Args:
            num_experts: Number of experts.
            num_features: Channels of a token.
            hidden: Units of an expert.
            activation: Their activation function.
            dropout: Dropout rate of an expert's units (Fedus et al. 2021, sec. 2.4). An expert sees
                fewer tokens than a dense layer and overfits sooner. Units are dropped for all
                tokens of a training step, which takes one random draw per unit.
        """
        super().__init__()
        self.num_experts = num_experts
        self.activation: Activation = activation
        self.dropout = dropout
        inner, outer = num_features**-0.5, hidden**-0.5
        self.weight_in = nn.Parameter(_uniform(inner, num_experts, num_features, hidden))
        self.bias_in = nn.Parameter(_uniform(inner, num_experts, hidden))
        self.weight_out = nn.Parameter(_uniform(outer, num_experts, hidden, num_features))
        self.bias_out = nn.Parameter(_uniform(outer, num_experts, num_features))

    @property
    def num_features(self) -> int:
        """Channels of a token."""
        return self.weight_in.shape[1]

    def forward(self, tokens: Tensor, assignment: Assignment) -> Tensor:
        """Computes the experts of each token; shapes as in ``expert_feed_forward``."""
        return expert_feed_forward(
            tokens,
            assignment,
            self.weight_in,
            self.bias_in,
            self._weight_out(),
            self.bias_out,
            self.activation,
        )

    def equal_groups(self, rows: Tensor) -> Tensor:
        """Computes every expert on the same number of rows, in one batched product.

        Args:
            rows: Shape (experts, rows, features).

        Returns:
            Unweighted outputs, same shape.
        """
        hidden = rows @ self.weight_in + self.bias_in[:, None]
        hidden = functional.relu(hidden) if self.activation == "relu" else functional.silu(hidden)
        return hidden @ self._weight_out() + self.bias_out[:, None]

    def _weight_out(self) -> Tensor:
        """The output weights; in training, those of dropped hidden units are 0."""
        if not self.training or self.dropout == 0:
            return self.weight_out
        kept = torch.empty_like(self.weight_out[:, :, :1]).bernoulli_(1 - self.dropout)
        return self.weight_out * (kept / (1 - self.dropout))


def _uniform(bound: float, *shape: int) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound)


# Each activation with its gradient, given the gradient of its result, its input and its result.
# ReLU overwrites its input, which is not needed afterwards.
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


class _FeedForward(torch.autograd.Function):
    """The whole layer in one function, with a single pass over its intermediate results."""

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
        plan: RowPlan,
    ) -> Tensor:
        ctx.activation, ctx.plan, ctx.dtype = activation, plan, weight_in.dtype
        products = plan.products
        activate, _ = _ACTIVATIONS[activation]
        with torch.autocast(tokens.device.type, enabled=False):
            # Cast once, for the gradient too.
            w_in, b_in, w_out, b_out = (
                part.to(products.dtype) for part in (weight_in, bias_in, weight_out, bias_out)
            )
            rows = plan.gather(tokens.to(products.dtype))  # (S, C)
            before = products.linear(rows, w_in, b_in)  # (S, H)
            hidden = activate(before)
            output = products.linear(hidden, w_out, b_out)  # (S, C)
            ctx.save_for_backward(tokens, weight, w_in, w_out, before, hidden, output)
            return plan.sum_by_token(output.to(weight.dtype), weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tokens, weight, w_in, w_out, before, hidden, output = ctx.saved_tensors
        plan, products, dtype = ctx.plan, ctx.plan.products, ctx.dtype
        _, activation_backward = _ACTIVATIONS[ctx.activation]
        (
            needs_tokens,
            needs_weight,
            needs_weight_in,
            needs_bias_in,
            needs_weight_out,
            needs_bias_out,
            *_,
        ) = ctx.needs_input_grad
        grad_tokens = grad_weight = grad_weight_in = grad_bias_in = None
        grad_weight_out = grad_bias_out = None
        with torch.autocast(tokens.device.type, enabled=False):
            if needs_weight:
                grad_weight = plan.dot(output.to(weight.dtype), gradient)
            grad_output = plan.gather(gradient, weight)  # (S, C)
            if needs_bias_out:
                grad_bias_out = plan.sum_by_expert(grad_output, dtype)
            grad_output = grad_output.to(products.dtype)
            if needs_weight_out:
                grad_weight_out = products.weight_gradient(hidden, grad_output, w_out, dtype)
            if needs_tokens or needs_weight_in or needs_bias_in:
                grad_hidden = products.input_gradient(grad_output, w_out)  # (S, H)
                grad_before = activation_backward(grad_hidden, before, hidden)
                if needs_bias_in:
                    grad_bias_in = plan.sum_by_expert(grad_before, dtype)
                if needs_weight_in:
                    rows = plan.gather(tokens.to(products.dtype))
                    grad_weight_in = products.weight_gradient(rows, grad_before, w_in, dtype)
                if needs_tokens:
                    grad_rows = products.input_gradient(grad_before, w_in)  # (S, C)
                    grad_tokens = plan.sum_by_token(grad_rows.to(tokens.dtype))
        return (
            grad_tokens,
            grad_weight,
            grad_weight_in,
            grad_bias_in,
            grad_weight_out,
            grad_bias_out,
            None,
            None,
        )
