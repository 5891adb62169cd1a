from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest
import torch
from torch import Tensor

from phoneme_moe.training.data import Batch
from phoneme_moe.training.objectives import cross_entropy, ctc


def batch_of(targets: list[list[int]]) -> Batch:
    """A batch in which only the targets matter."""
    nothing = torch.empty(0)
    rows = [torch.tensor(row) for row in targets]
    return Batch(
        features=nothing,
        mask=nothing,
        speaker=nothing,
        targets=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        target_lengths=torch.tensor([len(row) for row in targets]),
        examples=(),
    )


def random_posteriors(batch: int, frames: int, outputs: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, frames, outputs, generator=generator).log_softmax(-1)


def path_sum(log_posteriors: np.ndarray, target: list[int]) -> float:
    """Probability of a sequence: the sum over all paths that collapse to it."""
    frames, outputs = log_posteriors.shape
    return sum(
        float(np.exp(sum(log_posteriors[t, output] for t, output in enumerate(path))))
        for path in product(range(outputs), repeat=frames)
        if [output for output, _ in groupby(path) if output != 0] == target
    )


@pytest.mark.parametrize("target", [[1], [1, 2], [1, 1], [2, 1, 2]])
def test_ctc_is_the_sum_over_all_paths(target: list[int]) -> None:
    log_posteriors = random_posteriors(1, 5, 3)
    mask = torch.ones(1, 5, dtype=torch.bool)
    found = ctc(log_posteriors, mask, batch_of([target]))
    expected = -np.log(path_sum(log_posteriors[0].double().numpy(), target)) / len(target)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_ctc_of_a_batch_is_the_mean_of_its_utterances_whatever_the_padding() -> None:
    log_posteriors = random_posteriors(3, 6, 4)
    lengths = torch.tensor([6, 3, 5])
    mask = torch.arange(6) < lengths[:, None]
    targets = [[1, 2, 3], [3], [2, 1]]
    alone = [
        ctc(log_posteriors[i : i + 1, :n], mask[i : i + 1, :n], batch_of([targets[i]]))
        for i, n in enumerate(lengths.tolist())
    ]
    spoilt = torch.where(mask[..., None], log_posteriors, torch.full_like(log_posteriors, -3.0))
    padded = torch.nn.functional.pad(spoilt, (0, 0, 0, 4), value=-1.0)
    padded_mask = torch.nn.functional.pad(mask, (0, 4))
    found = ctc(padded, padded_mask, batch_of(targets))
    assert float(found) == pytest.approx(float(torch.stack(alone).mean()), rel=1e-5)


def test_an_utterance_without_a_path_teaches_nothing_and_spoils_nothing() -> None:
    log_posteriors = random_posteriors(2, 2, 3).requires_grad_()
    mask = torch.ones(2, 2, dtype=torch.bool)
    loss = ctc(log_posteriors, mask, batch_of([[1, 1, 2], [1]]))
    loss.backward()
    assert loss.isfinite()
    assert log_posteriors.grad is not None
    assert log_posteriors.grad.isfinite().all()
    assert not log_posteriors.grad[0].any()
    assert log_posteriors.grad[1].any()


def test_cross_entropy_is_the_mean_surprise_at_the_right_phoneme() -> None:
    log_posteriors = random_posteriors(3, 1, 4)
    mask = torch.ones(3, 1, dtype=torch.bool)
    found = cross_entropy(log_posteriors, mask, batch_of([[2], [0], [3]]))
    expected = -(log_posteriors[0, 0, 2] + log_posteriors[1, 0, 0] + log_posteriors[2, 0, 3]) / 3
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
