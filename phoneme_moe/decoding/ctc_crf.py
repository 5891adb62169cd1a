"""CTC-CRF: CTC with a phoneme trigram, normalised over all phoneme sequences.

CTC assumes independent frames. CTC-CRF also weights every path by an n-gram and normalises the
likelihood over all paths of all phoneme sequences (Xiang & Ou 2019; lattice-free MMI, Povey et al.
2016, does so with another topology):

    log P(phonemes) = log CTC(phonemes) + log n-gram(phonemes) - log partition function

A state of the denominator consists of the last two phonemes and whether the last frame was blank.
Given the last phoneme, the transitions are a matrix product, so a frame takes one batched product.

Legend: B batch, T frames, P outputs with the blank first, S phonemes, J last phoneme, I second to
last phoneme; index 0 of J and I is the start of the utterance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.phonemes import BLANK

ORDER = 3
"""Order of the n-gram: the highest for which a table of all histories is practical."""


@dataclass(frozen=True)
class Trigram:
    """Probabilities of a phoneme n-gram for all histories of two phonemes.

    Attributes:
        follows: Probability of each phoneme given the last two, shape (J, I, S).
        ends: Probability of the end of the utterance, shape (J, I).
    """

    follows: Tensor
    ends: Tensor

    @classmethod
    def from_ngram(cls, ngram: PhonemeNgram) -> Trigram:
        """Tabulates an n-gram.

        Args:
            ngram: The n-gram; if its order exceeds ``ORDER``, contexts are truncated to two
                phonemes.
        """
        size = len(ngram.symbols)
        first = np.append(
            ngram.start_state, ngram.next_states[0]
        )  # states of the second to last phoneme
        state = np.full((size + 1, size + 1), ngram.start_state)
        state[1:] = ngram.next_states[first].T
        probabilities = torch.from_numpy(np.exp(ngram.log_probabilities))[torch.from_numpy(state)]
        return cls(probabilities[..., :-1].contiguous(), probabilities[..., -1].contiguous())

    def to(self, device: torch.device) -> Trigram:
        """Copies the tables to a device."""
        return Trigram(self.follows.to(device), self.ends.to(device))

    def log_probability(self, phonemes: Tensor, lengths: Tensor) -> Tensor:
        """Log probability of whole utterances, including the end, shape (batch,).

        Args:
            phonemes: Phonemes as output indices (from 1), shape (batch, longest).
            lengths: Number of phonemes of each utterance, shape (batch,).
        """
        real = torch.arange(phonemes.shape[1], device=phonemes.device) < lengths[:, None]
        padded = torch.nn.functional.pad(phonemes * real, (2, 0))
        before, last = padded[:, :-2], padded[:, 1:-1]
        steps = self.follows[last, before, (phonemes - 1).clamp(min=0)].log()
        at = lengths[:, None]
        ends = self.ends[padded.gather(1, at + 1), padded.gather(1, at)][:, 0].log()
        return steps.masked_fill(~real, 0).sum(dim=1) + ends


def log_partition(log_posteriors: Tensor, mask: Tensor, trigram: Trigram) -> Tensor:
    """Log partition function: sum of CTC times n-gram probability over all phoneme sequences.

    With 39 phonemes it stores 13 kB per frame and utterance for the backward pass.

    Args:
        log_posteriors: Log posteriors, blank first, shape (batch, frames, outputs).
        mask: True for real frames, followed by padding, shape (batch, frames).
        trigram: The n-gram, on the same device.

    Returns:
        Shape (batch,), float32; differentiable once, with respect to the posteriors.
    """
    # ``apply`` of a custom torch function is untyped.
    total: Tensor = _LogSum.apply(  # type: ignore[no-untyped-call]
        log_posteriors, mask, trigram.follows, trigram.ends
    )
    return total


class _LogSum(torch.autograd.Function):
    """Forward-backward algorithm (Rabiner 1989, section III), scaled in every frame.

    For each last phoneme it keeps two matrices (B, I): for paths that end in the phoneme, and for
    paths that end in blanks after it.
    """

    @staticmethod
    def forward(
        ctx: Any, log_posteriors: Tensor, mask: Tensor, follows: Tensor, ends: Tensor
    ) -> Tensor:
        # Padding is replaced by frames with blank probability 1.
        padded = log_posteriors.float().masked_fill(~mask[..., None], -torch.inf)
        padded[..., BLANK].masked_fill_(~mask, 0)
        frames = padded.exp_().transpose(0, 1).contiguous()  # (T, B, P)
        steps, batch, _ = frames.shape
        size = follows.shape[2]
        repeats = _repeats(follows)
        sums = frames.new_empty(steps + 1, 2, size + 1, batch, size + 1)
        sums[0], sums[:, 0, 0] = 0, 0
        sums[0, 1, 0, :, 0] = 1  # only blanks so far
        scales = frames.new_empty(steps, batch)
        for step, frame in enumerate(frames):
            in_phoneme, in_blank = sums[step]
            either = in_phoneme + in_blank
            new = torch.bmm(either, follows)  # (J, B, S)
            # A phoneme that follows itself needs a blank between.
            _diagonal(new).sub_(torch.bmm(in_phoneme[1:], repeats)[..., 0])
            then_phoneme, then_blank = sums[step + 1]
            torch.add(new.permute(2, 1, 0), in_phoneme[1:], out=then_phoneme[1:])
            then_phoneme[1:].mul_(frame.T[1:, :, None])
            torch.mul(either, frame[:, BLANK, None], out=then_blank)
            scales[step] = sums[step + 1].sum(dim=(0, 1, 3))
            sums[step + 1].div_(scales[step][:, None])
        last = (sums[-1].sum(dim=0) * ends[:, None]).sum(dim=(0, 2))
        ctx.save_for_backward(mask, frames, follows, ends, sums, scales, last)
        return scales.log().sum(dim=0) + last.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        mask, frames, follows, ends, sums, scales, last = ctx.saved_tensors
        repeats, back = _repeats(follows), follows.transpose(1, 2).contiguous()
        occupancy = torch.empty_like(frames)
        to_blank = (ends[:, None] / last[:, None]).expand_as(sums[0, 0])
        to_phoneme = to_blank
        for step in range(len(frames) - 1, -1, -1):
            then_phoneme, then_blank = sums[step + 1]
            # Share of the paths that emit each output in this frame.
            occupancy[step, :, 1:] = (then_phoneme[1:] * to_phoneme[1:]).sum(dim=-1).T
            occupancy[step, :, BLANK] = (then_blank * to_blank).sum(dim=(0, 2))
            frame = frames[step] / scales[step][:, None]
            stays = to_phoneme[1:] * frame.T[1:, :, None]  # (S, B, I)
            new = stays.permute(2, 1, 0).contiguous()  # (J, B, S)
            to_blank = torch.bmm(new, back).addcmul_(to_blank, frame[:, BLANK, None])
            to_phoneme = to_blank.clone()
            to_phoneme[1:] += stays - _diagonal(new)[..., None] * repeats.transpose(1, 2)
        grad_input = occupancy * gradient[:, None]
        grad_input = grad_input.transpose(0, 1).masked_fill(~mask[..., None], 0)
        return grad_input, None, None, None


def _repeats(follows: Tensor) -> Tensor:
    """Probability that the last phoneme is repeated, shape (S, I, 1)."""
    return torch.diagonal(follows[1:], dim1=0, dim2=2).T.unsqueeze(-1).contiguous()


def _diagonal(new: Tensor) -> Tensor:
    """Entries of (J, B, S) whose phoneme repeats the last one, shape (S, B); a view."""
    return torch.diagonal(new[1:], dim1=0, dim2=2).T
