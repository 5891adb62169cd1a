from __future__ import annotations

from itertools import groupby, product
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from phoneme_moe.data.batches import Batch
from phoneme_moe.decoding.ctc_crf import Trigram
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.mixture.combination import blend_experts
from phoneme_moe.mixture.routing import Routing, dense_routing
from phoneme_moe.model.recognition import Recognition
from phoneme_moe.training.objectives import (
    CTC_WEIGHT,
    crf_loss,
    inconsistency,
    phoneme_loss,
    speaker_loss,
    token_error,
)


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


def ctc(log_posteriors: Tensor, mask: Tensor, batch: Batch) -> Tensor:
    """Loss of posteriors that come from one net."""
    routing = Routing(log_posteriors.new_zeros(0), log_posteriors.new_zeros(0), mask)
    return phoneme_loss(Recognition(log_posteriors, routing), batch, "recognize")


def mixture(weights: Tensor, experts: Tensor, mask: Tensor) -> Recognition:
    """What a gate with these weights makes of what the experts say."""
    routing = dense_routing(weights.log(), mask)
    return Recognition(blend_experts(routing, experts), routing, experts)


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
    routing = Routing(torch.empty(0), torch.empty(0), torch.ones(3, 1, dtype=torch.bool))
    recognition = Recognition(log_posteriors, routing)
    found = phoneme_loss(recognition, batch_of([[2], [0], [3]]), "classify")
    expected = -(log_posteriors[0, 0, 2] + log_posteriors[1, 0, 0] + log_posteriors[2, 0, 3]) / 3
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def random_mixture(batch: int, frames: int, experts: int, outputs: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(batch, frames, experts, generator=generator).softmax(-1)
    said = torch.randn(batch, frames, experts, outputs, generator=generator).log_softmax(-1)
    return weights, said


def test_tokens_and_utterances_are_the_same_where_there_is_one_frame() -> None:
    weights, said = random_mixture(5, 1, 3, 4)
    recognition = mixture(weights, said, torch.ones(5, 1, dtype=torch.bool))
    batch = batch_of([[0], [1], [2], [3], [0]])
    by_frame = phoneme_loss(recognition, batch, "classify", "frame")
    by_utterance = phoneme_loss(recognition, batch, "classify", "utterance")
    torch.testing.assert_close(by_frame, by_utterance)


def test_an_utterance_is_blended_by_the_mean_weight_of_its_real_frames() -> None:
    weights, said = random_mixture(1, 5, 2, 3)
    real = 4
    mask = torch.arange(5)[None] < real
    found = phoneme_loss(mixture(weights, said, mask), batch_of([[1, 2]]), "recognize", "utterance")
    mean = weights[0, :real].mean(dim=0).double().numpy()
    each = [path_sum(said[0, :real, e].double().numpy(), [1, 2]) for e in range(2)]
    expected = -np.log(mean[0] * each[0] + mean[1] * each[1]) / 2
    assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("blend", ["frame", "utterance"])
def test_a_certain_gate_has_the_loss_of_its_expert(blend: Literal["frame", "utterance"]) -> None:
    _, said = random_mixture(2, 6, 3, 4)
    weights = torch.zeros(2, 6, 3).index_fill(2, torch.tensor([1]), 1.0)
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    batch = batch_of([[1, 2], [3]])
    found = phoneme_loss(mixture(weights, said, mask), batch, "recognize", blend)
    torch.testing.assert_close(found, ctc(said[:, :, 1], mask, batch))


def test_the_gate_learns_from_a_whole_utterance_who_says_it_best() -> None:
    _, said = random_mixture(1, 5, 2, 3)
    batch = batch_of([[1, 2]])
    mask = torch.ones(1, 5, dtype=torch.bool)
    each = [path_sum(said[0, :, e].double().numpy(), [1, 2]) for e in range(2)]
    logits = torch.zeros(1, 5, 2, requires_grad=True)
    recognition = mixture(logits.softmax(-1), said, mask)
    phoneme_loss(recognition, batch, "recognize", "utterance").backward()
    assert logits.grad is not None
    # Downhill in the loss is uphill for the expert that says the utterance best, in every frame.
    assert (logits.grad.argmin(dim=-1) == int(np.argmax(each))).all()


def test_the_speaker_loss_is_the_surprise_at_the_right_expert_over_real_frames() -> None:
    weights, _ = random_mixture(2, 4, 3, 2)
    mask = torch.arange(4) < torch.tensor([[4], [2]])
    found = speaker_loss(dense_routing(weights.log(), mask), torch.tensor([2, 0]))
    surprises = [-np.log(float(w)) for w in (*weights[0, :, 2], *weights[1, :2, 0])]
    assert float(found) == pytest.approx(np.mean(surprises), rel=1e-5)


def test_errors_of_a_token_worked_by_hand() -> None:
    log_posteriors = torch.tensor([[[0.7, 0.2, 0.1]], [[0.3, 0.3, 0.4]]]).log()
    targets = torch.tensor([[0], [1]])
    squared = [0.3**2 + 0.2**2 + 0.1**2, 0.3**2 + 0.7**2 + 0.4**2]
    assert float(token_error(log_posteriors, targets, "mse")) == pytest.approx(np.mean(squared))

    def ahead(by: float) -> float:
        return 1 / (1 + np.exp(-4 * by))

    merits = [(ahead(0.5) + ahead(0.6)) / 2, (ahead(0.0) + ahead(-0.1)) / 2]
    assert float(token_error(log_posteriors, targets, "cfm")) == pytest.approx(-np.mean(merits))


def test_crf_is_the_share_of_what_was_said_among_all_that_could_be() -> None:
    log_posteriors = random_posteriors(2, 4, 3)
    mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    ngram = PhonemeNgram.estimate(["ab", "ba", "aab"], "ab", 3)
    targets = [[1, 2], [2]]
    routing = Routing(log_posteriors.new_zeros(0), log_posteriors.new_zeros(0), mask)
    found = crf_loss(
        Recognition(log_posteriors, routing), batch_of(targets), Trigram.from_ngram(ngram)
    )
    expected = 0.0
    for target, row, frames in zip(targets, log_posteriors.double().numpy(), (4, 3), strict=True):
        every = [list(said) for n in range(frames + 1) for said in product((1, 2), repeat=n)]
        weights = {
            tuple(said): path_sum(row[:frames], said)
            * np.exp(ngram.log_probability(["_ab"[output] for output in said]))
            for said in every
        }
        own = np.log(weights[tuple(target)] / sum(weights.values()))
        own += CTC_WEIGHT * np.log(path_sum(row[:frames], target))
        expected -= own / len(target) / 2
    assert found.item() == pytest.approx(expected, abs=1e-5)


def test_crf_learns_nothing_from_what_does_not_fit_into_its_frames() -> None:
    log_posteriors = random_posteriors(1, 2, 3).requires_grad_()
    mask = torch.ones(1, 2, dtype=torch.bool)
    ngram = PhonemeNgram.estimate(["ab"], "ab", 3)
    routing = Routing(log_posteriors.new_zeros(0), log_posteriors.new_zeros(0), mask)
    loss = crf_loss(
        Recognition(log_posteriors, routing), batch_of([[1, 1]]), Trigram.from_ngram(ngram)
    )
    loss.backward()
    assert loss.item() == 0
    assert log_posteriors.grad is not None
    assert not log_posteriors.grad.any()


def two_views(log_posteriors: Tensor, mask: Tensor) -> Recognition:
    """Output of a model for the first views and for the second."""
    nothing = log_posteriors.new_zeros(0)
    return Recognition(log_posteriors, Routing(nothing, nothing, mask.repeat(2, 1)))


def test_inconsistency_is_the_mean_divergence_over_real_frames() -> None:
    first, second = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.2, 0.8]])
    log_posteriors = torch.stack([first, second]).log()
    mask = torch.tensor([[True, False]])
    answer = inconsistency(two_views(log_posteriors, mask), batch_of([[1, 1], [1, 1]]))
    one = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    other = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    assert answer.item() == pytest.approx((one + other) / 2 / 2, abs=1e-6)


def test_equal_views_are_consistent_and_have_no_gradient() -> None:
    scores = torch.randn(2, 5, 4).repeat(2, 1, 1).requires_grad_()
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    answer = inconsistency(two_views(scores.log_softmax(-1), mask), batch_of([[1], [2]] * 2))
    answer.backward()
    assert answer.item() == pytest.approx(0, abs=1e-6)
    assert scores.grad is not None
    assert scores.grad.abs().max() < 1e-6


def test_each_view_approaches_the_other_which_is_constant() -> None:
    scores = torch.randn(2, 3, 4).requires_grad_()
    mask = torch.ones(1, 3, dtype=torch.bool)
    inconsistency(two_views(scores.log_softmax(-1), mask), batch_of([[1, 2]] * 2)).backward()
    assert scores.grad is not None
    first, second = scores.detach().softmax(-1)
    torch.testing.assert_close(scores.grad, torch.stack([first - second, second - first]) / 4)
