"""Against every path there is, on tiny utterances."""

from __future__ import annotations

from itertools import groupby, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from phoneme_moe.decoding.ctc_crf import ORDER, Trigram, log_partition
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.phonemes import BLANK

SYMBOLS = "abc"
UTTERANCES = ["abba", "ab", "acab", "aa", "bab", "", "cc"]
NGRAM = PhonemeNgram.estimate(UTTERANCES, SYMBOLS, ORDER)
TRIGRAM = Trigram.from_ngram(NGRAM)


def random_posteriors(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*shape, generator=generator)).log_softmax(dim=-1)


def add_up(posteriors: Tensor) -> Tensor:
    """All paths of one utterance, one after the other, in float64."""
    paths = []
    for path in product(range(posteriors.shape[1]), repeat=len(posteriors)):
        phonemes = [SYMBOLS[output - 1] for output, _ in groupby(path) if output != BLANK]
        score = posteriors.double()[torch.arange(len(path)), torch.tensor(path)].sum()
        paths.append(score + NGRAM.log_probability(phonemes))
    return torch.logsumexp(torch.stack(paths), dim=0)


def mask_of(num_frames: list[int], most: int) -> Tensor:
    return torch.arange(most) < torch.tensor(num_frames)[:, None]


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), num_frames=st.lists(st.integers(1, 5), min_size=1, max_size=2))
def test_sum_and_gradient_are_those_of_all_paths(seed: int, num_frames: list[int]) -> None:
    posteriors = random_posteriors(seed, len(num_frames), 5, 4).requires_grad_()
    weights = torch.linspace(0.5, 1.5, len(num_frames))
    found = log_partition(posteriors, mask_of(num_frames, 5), TRIGRAM)
    (gradient,) = torch.autograd.grad((found * weights).sum(), posteriors)
    expected = torch.stack([add_up(o[:n]) for o, n in zip(posteriors, num_frames, strict=True)])
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), posteriors)
    torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=1e-4)


@given(st.lists(st.text(SYMBOLS, max_size=5), min_size=1, max_size=4))
def test_the_tables_equal_the_ngram(utterances: list[str]) -> None:
    lengths = torch.tensor([len(utterance) for utterance in utterances])
    phonemes = torch.zeros(len(utterances), 5, dtype=torch.long)
    for row, utterance in enumerate(utterances):
        phonemes[row, : len(utterance)] = torch.tensor([SYMBOLS.index(p) + 1 for p in utterance])
    expected = torch.tensor([NGRAM.log_probability(utterance) for utterance in utterances])
    found = TRIGRAM.log_probability(phonemes, lengths)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing_and_has_no_gradient() -> None:
    posteriors = random_posteriors(3, 2, 9, 4)
    alone = log_partition(posteriors[:1, :4], mask_of([4], 4), TRIGRAM)
    padded = posteriors.clone().requires_grad_()
    found = log_partition(padded, mask_of([4, 9], 9), TRIGRAM)
    assert found[0].item() == pytest.approx(alone.item(), abs=1e-6)
    found.sum().backward()
    assert padded.grad is not None
    assert not padded.grad[0, 4:].any()


def test_of_each_real_frame_the_shares_of_all_paths_are_one() -> None:
    posteriors = random_posteriors(4, 3, 200, 4).requires_grad_()
    log_partition(posteriors, mask_of([200, 150, 1], 200), TRIGRAM).sum().backward()
    assert posteriors.grad is not None
    shares = posteriors.grad.sum(dim=-1)
    torch.testing.assert_close(shares, mask_of([200, 150, 1], 200).float(), atol=2e-4, rtol=0)


def test_probabilities_of_all_sequences_add_up_to_one() -> None:
    posteriors = random_posteriors(5, 1, 4, 4)
    whole = log_partition(posteriors, mask_of([4], 4), TRIGRAM)
    total = 0.0
    for length in range(5):
        for sequence in product((1, 2, 3), repeat=length):
            phonemes = torch.tensor([sequence], dtype=torch.long).reshape(1, length)
            lengths = torch.tensor([length])
            ctc = -functional.ctc_loss(
                posteriors.transpose(0, 1), phonemes, torch.tensor([4]), lengths, reduction="none"
            )
            language = TRIGRAM.log_probability(phonemes, lengths)
            total += float((ctc + language - whole).exp())
    assert total == pytest.approx(1, abs=1e-5)
