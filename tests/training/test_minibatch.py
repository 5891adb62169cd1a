"""The plain minibatch loop."""

from __future__ import annotations

import pytest
import torch

from phoneme_moe.training.minibatch import Schedule, fit


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 100])
def test_any_number_of_steps_can_be_trained(steps: int) -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0]))
    losses = []

    def loss(chosen: torch.Tensor) -> torch.Tensor:
        value = weight.square().sum()
        losses.append(float(value))
        return value

    fit([weight], [torch.arange(2)], loss, Schedule(steps, 0.1, batch_size=2), seed=0)
    assert len(losses) == steps
    assert float(weight.square()) < 9
