"""Optimisers of a stage: AdamW, and Muon for the weight matrices of an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from phoneme_moe.recipe import Stage

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial that brings singular values near 1 in a few iterations (Jordan et al.
2024), as ``torch.optim.Muon``."""

UPDATE_RMS = 0.2
"""Root mean square of an update, as that of AdamW, so that one learning rate suits both (Liu et al.
2025, sec. 2.2)."""


def build_optimizer(module: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """The optimiser of the trainable parameters of a module.

    Args:
        module: The module.
        stage: The stage, with ``optimizer`` ``adamw`` or ``muon``.
    """
    assert stage.learning_rate is not None
    trainable = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    matrices = [p for name, p in trainable if stage.optimizer == "muon" and _is_matrix(name, p)]
    chosen = set(matrices)
    others = [p for _, p in trainable if p not in chosen]
    groups = [{"params": group} for group in (others, matrices) if group]
    is_sharded = any(isinstance(parameter, DTensor) for parameter in others)
    kind = MuonAdamW if matrices else ShardedAdamW if is_sharded else torch.optim.AdamW
    # Experts share their tensors, so one fused step updates all of them.
    optimizer = kind(groups, lr=stage.learning_rate, weight_decay=stage.weight_decay, fused=True)
    if matrices:
        optimizer.param_groups[-1]["orthogonal"] = True
    return optimizer


def _is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a weight matrix of an encoder's block, or those of its experts."""
    last = name.rpartition(".")[2]
    inside = ".blocks." in name and ".router." not in name
    return inside and last.startswith("weight") and parameter.ndim >= 2


class ShardedAdamW(torch.optim.AdamW):
    """AdamW for sharded parameters (``training.sharded_encoder``) beside whole ones.

    A fused step takes tensors of one kind. Groups of their own would number the parameters in
    another order than in one process, which a checkpoint must not depend on.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates all parameters with a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients = {p: p.grad for group in self.param_groups for p in group["params"]}
        for sharded in (False, True):
            for parameter, gradient in gradients.items():
                # AdamW leaves alone what has no gradient.
                chosen = isinstance(parameter, DTensor) == sharded
                parameter.grad = gradient if chosen else None
            super().step()
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        return loss


class MuonAdamW(torch.optim.AdamW):
    """Muon for the groups that are marked ``orthogonal``, AdamW for the others.

    Muon replaces the gradient of a matrix, after momentum, by the nearest matrix with orthonormal
    rows or columns, so that rare directions are learned as fast as frequent ones (Jordan et al.
    2024). The weights of experts, stacked in one tensor, are one matrix each
    (``torch.optim.Muon`` takes single matrices only).
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates all parameters with a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group.get("orthogonal"):
                self._step_matrices(group)
        super().step()
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        updates: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            state = self.state[parameter]
            if not state:
                # AdamW expects a number of steps in each state that it loads.
                state["step"] = torch.tensor(0.0)
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            update = gradient.lerp(momentum, MOMENTUM)  # Nesterov
            updates.setdefault(tuple(parameter.shape[-2:]), []).append((parameter, update))
            # AdamW leaves alone what has no gradient.
            parameter.grad = None
        for (rows, columns), of_shape in updates.items():
            stacked = torch.cat([update.reshape(-1, rows, columns) for _, update in of_shape])
            counts = [update.numel() // (rows * columns) for _, update in of_shape]
            orthogonal = torch.split(orthogonalize(stacked), counts)
            rate = group["lr"] * UPDATE_RMS * max(rows, columns) ** 0.5
            for (parameter, _), update in zip(of_shape, orthogonal, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.reshape(parameter.shape), alpha=-rate)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Brings the singular values of matrices near 1 (0.7 to 1.2), by Newton-Schulz iterations.

    Args:
        matrices: Shape (matrices, rows, columns).

    Returns:
        The same shape, in the same type; computed in bfloat16.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    current = (matrices.mT if tall else matrices).bfloat16()
    norms = torch.linalg.matrix_norm(current, keepdim=True)
    current = current / norms.clamp_min(1e-7)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = torch.bmm(current, current.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        current = torch.baddbmm(current, polynomial, current, beta=first)
    return (current.mT if tall else current).to(matrices.dtype)
