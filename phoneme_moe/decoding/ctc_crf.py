"""How likely phonemes are among everything that could have been said: CTC with a phoneme n-gram.

CTC takes frames for independent: its phonemes know nothing of each other. With the probability of
an n-gram in every path, and divided by the sum over all paths of all phoneme sequences, the
posteriors learn to say what the n-gram does not know (CTC-CRF: Xiang & Ou 2019; with other paths
it is lattice-free MMI, Povey et al. 2016):

    log P(phonemes) = log CTC(phonemes) + log n-gram(phonemes) - log sum over all of the same

The sum goes over paths whose state is the last two phonemes and whether the last frame was blank.
For one last phoneme, the step to all others is a matrix product, so a frame is one batched product.

Legend: B batch, T frames, P outputs with the blank first, S phonemes, J last phoneme, I the one
before it; of J and I the first is the beginning.
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
"""Of the n-gram: as much as fits into tables of all histories."""


@dataclass(frozen=True)
class Trigram:
    """Probabilities of a phoneme n-gram for all histories of two.

    Attributes:
        follows: Of each phoneme, given the last one and the one before, shape (J, I, S). Where
            nothing was said yet both are 0, before the second phoneme the one before is.
        ends: Of the end, shape (J, I).
    """

    follows: Tensor
    ends: Tensor

    @classmethod
    def from_ngram(cls, ngram: PhonemeNgram) -> Trigram:
        """What an n-gram says.

        Args:
            ngram: Of order ``ORDER`` or less; of one with more only two phonemes are looked back.
        """
        size = len(ngram.symbols)
        first = np.append(ngram.start_state, ngram.next_states[0])  # of the one before
        state = np.full((size + 1, size + 1), ngram.start_state)
        state[1:] = ngram.next_states[first].T
        probabilities = torch.from_numpy(np.exp(ngram.log_probabilities))[torch.from_numpy(state)]
        return cls(probabilities[..., :-1].contiguous(), probabilities[..., -1].contiguous())

    def to(self, device: torch.device) -> Trigram:
        """The same on a device."""
        return Trigram(self.follows.to(device), self.ends.to(device))

    def log_probability(self, phonemes: Tensor, lengths: Tensor) -> Tensor:
        """Of whole utterances and their ends, natural logarithm, shape (batch,).

        Args:
            phonemes: Outputs from 1, shape (batch, longest).
            lengths: How many of them are real, shape (batch,).
        """
        real = torch.arange(phonemes.shape[1], device=phonemes.device) < lengths[:, None]
        said = torch.nn.functional.pad(phonemes * real, (2, 0))
        before, last = said[:, :-2], said[:, 1:-1]
        steps = self.follows[last, before, (phonemes - 1).clamp(min=0)].log()
        at = lengths[:, None]
        ends = self.ends[said.gather(1, at + 1), said.gather(1, at)][:, 0].log()
        return steps.masked_fill(~real, 0).sum(dim=1) + ends


def log_partition(log_posteriors: Tensor, mask: Tensor, trigram: Trigram) -> Tensor:
    """Logarithm of the sum, over all phoneme sequences, of CTC probability times the n-gram's.

    Until its gradient is taken it holds 13 kB a frame and utterance, with 39 phonemes.

    Args:
        log_posteriors: Natural logarithms, blank first, shape (batch, frames, outputs).
        mask: Real frames, which come first, shape (batch, frames).
        trigram: On the same device.

    Returns:
        Shape (batch,), float32; differentiable once, by the posteriors.
    """
    # torch leaves ``apply`` of a function of one's own without types.
    total: Tensor = _LogSum.apply(  # type: ignore[no-untyped-call]
        log_posteriors, mask, trigram.follows, trigram.ends
    )
    return total


class _LogSum(torch.autograd.Function):
    """Forward and backward sums (Rabiner 1989, section III), scaled in every frame.

    Both keep, for each last phoneme, a matrix (B, I): of paths that end in the phoneme and of those
    that end in blanks after it.
    """

    @staticmethod
    def forward(
        ctx: Any, log_posteriors: Tensor, mask: Tensor, follows: Tensor, ends: Tensor
    ) -> Tensor:
        # Padding is as frames that are surely blank: nothing is said in them.
        said = log_posteriors.float().masked_fill(~mask[..., None], -torch.inf)
        said[..., BLANK].masked_fill_(~mask, 0)
        frames = said.exp_().transpose(0, 1).contiguous()  # (T, B, P)
        steps, batch, _ = frames.shape
        size = follows.shape[2]
        again = _again(follows)
        sums = frames.new_empty(steps + 1, 2, size + 1, batch, size + 1)
        sums[0], sums[:, 0, 0] = 0, 0
        sums[0, 1, 0, :, 0] = 1  # nothing but blanks so far
        scales = frames.new_empty(steps, batch)
        for step, frame in enumerate(frames):
            in_phoneme, in_blank = sums[step]
            either = in_phoneme + in_blank
            new = torch.bmm(either, follows)  # (J, B, S)
            # The same phoneme twice has a blank between.
            _diagonal(new).sub_(torch.bmm(in_phoneme[1:], again)[..., 0])
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
        again, back = _again(follows), follows.transpose(1, 2).contiguous()
        found = torch.empty_like(frames)
        to_blank = (ends[:, None] / last[:, None]).expand_as(sums[0, 0])
        to_phoneme = to_blank
        for step in range(len(frames) - 1, -1, -1):
            then_phoneme, then_blank = sums[step + 1]
            # How much of all paths goes through each output of this frame.
            found[step, :, 1:] = (then_phoneme[1:] * to_phoneme[1:]).sum(dim=-1).T
            found[step, :, BLANK] = (then_blank * to_blank).sum(dim=(0, 2))
            frame = frames[step] / scales[step][:, None]
            stays = to_phoneme[1:] * frame.T[1:, :, None]  # (S, B, I)
            new = stays.permute(2, 1, 0).contiguous()  # (J, B, S)
            to_blank = torch.bmm(new, back).addcmul_(to_blank, frame[:, BLANK, None])
            to_phoneme = to_blank.clone()
            to_phoneme[1:] += stays - _diagonal(new)[..., None] * again.transpose(1, 2)
        found = (found * gradient[:, None]).transpose(0, 1).masked_fill(~mask[..., None], 0)
        return found, None, None, None


def _again(follows: Tensor) -> Tensor:
    """Probability that the last phoneme is said once more, shape (S, I, 1)."""
    return torch.diagonal(follows[1:], dim1=0, dim2=2).T.unsqueeze(-1).contiguous()


def _diagonal(new: Tensor) -> Tensor:
    """Of shape (J, B, S) what says the last phoneme again, shape (S, B); a view."""
    return torch.diagonal(new[1:], dim1=0, dim2=2).T
