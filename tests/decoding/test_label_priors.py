"""The loss against the sum over all alignments, on tiny utterances."""

from __future__ import annotations

from itertools import groupby, pairwise, product

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from phoneme_moe.decoding.label_priors import subtract_prior, unnormalized_ctc_loss
from phoneme_moe.decoding.phonemes import BLANK

OUTPUTS = 3
Case = tuple[Tensor, list[int]]


def paths_of(targets: list[int], num_frames: int) -> list[tuple[int, ...]]:
    """Every sequence of outputs whose CTC labels are the targets."""
    return [
        path
        for path in product(range(OUTPUTS), repeat=num_frames)
        if [output for output, _ in groupby(path) if output != BLANK] == targets
    ]


def score(path: tuple[int, ...], scores: Tensor) -> Tensor:
    return scores[torch.arange(len(path)), list(path)].sum()


@st.composite
def utterances(draw: st.DrawFn) -> Case:
    """Scores that are no probabilities, and phonemes that fit into their frames."""
    targets = draw(st.lists(st.integers(1, OUTPUTS - 1), min_size=1, max_size=3))
    repeats = sum(a == b for a, b in pairwise(targets))
    num_frames = draw(st.integers(len(targets) + repeats, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scores = 3 * torch.randn(num_frames, OUTPUTS, generator=generator, dtype=torch.float64) + 1
    return scores, targets


def loss_of(scores: Tensor, targets: list[int]) -> Tensor:
    return unnormalized_ctc_loss(
        scores[None],
        torch.tensor([len(scores)]),
        torch.tensor([targets]),
        torch.tensor([len(targets)]),
    )[0]


@given(utterances())
def test_the_loss_is_a_sum_over_all_alignments(case: Case) -> None:
    scores, targets = case
    total = torch.stack([score(path, scores) for path in paths_of(targets, len(scores))])
    torch.testing.assert_close(loss_of(scores, targets), -total.logsumexp(dim=0))


@given(utterances())
def test_the_gradient_is_that_of_the_sum_over_all_alignments(case: Case) -> None:
    scores, targets = case
    scores = scores.requires_grad_()
    total = torch.stack([score(path, scores) for path in paths_of(targets, len(scores))])
    (expected,) = torch.autograd.grad(-total.logsumexp(dim=0), scores)
    (found,) = torch.autograd.grad(loss_of(scores, targets), scores)
    torch.testing.assert_close(found, expected)


def test_the_gradient_through_the_prior_agrees_with_finite_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, OUTPUTS, dtype=torch.float64, requires_grad=True)
    log_prior = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log()

    def loss(logits: Tensor) -> Tensor:
        scores = subtract_prior(logits.log_softmax(dim=-1), log_prior, 0.7)
        targets = torch.tensor([[1, 2], [2, 0]])
        return unnormalized_ctc_loss(scores, torch.tensor([5, 3]), targets, torch.tensor([2, 1]))

    assert torch.autograd.gradcheck(loss, (logits,))


def test_without_a_prior_the_loss_is_plain_ctc() -> None:
    torch.manual_seed(0)
    log_posteriors = torch.randn(2, 6, OUTPUTS).log_softmax(dim=-1)
    frames, targets, lengths = torch.tensor([6, 4]), torch.tensor([[1, 2], [2, 0]]), [2, 1]
    log_prior = torch.tensor([0.8, 0.1, 0.1]).log()
    found = unnormalized_ctc_loss(
        subtract_prior(log_posteriors, log_prior, 0.0), frames, targets, torch.tensor(lengths)
    )
    plain = functional.ctc_loss(
        log_posteriors.transpose(0, 1), targets, frames, torch.tensor(lengths), reduction="none"
    )
    torch.testing.assert_close(found, plain)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    scores = torch.randn(1, 6, OUTPUTS)
    arguments = torch.tensor([4]), torch.tensor([[1, 2]]), torch.tensor([2])
    padded = unnormalized_ctc_loss(scores, *arguments)
    torch.testing.assert_close(unnormalized_ctc_loss(scores[:, :4], *arguments), padded)


def test_a_prior_takes_the_advantage_of_what_is_common() -> None:
    posteriors = torch.tensor([0.6, 0.3, 0.1])
    scores = subtract_prior(posteriors.log(), posteriors.log(), 1.0)
    torch.testing.assert_close(scores, torch.zeros(3))
