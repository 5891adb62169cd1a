"""Data augmentation on features: trimming, speed, vocal tract length, SpecAugment masks.

All functions process a whole batch, with independent random values for each utterance.

Legend: B batch, T frames, F mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """Random trimming, speed, vocal tract length, and masks in time and frequency.

    Attributes:
        quiet_ends: Share of the utterances whose quiet ends are trimmed, 0..1.
        speed: Largest relative change of speed; 0.1 gives 0.9 to 1.1 times.
        vocal_tract: Largest relative change of vocal tract length.
        time_masks: Time masks per utterance; masked features are set to zero, their mean
            (SpecAugment, Park et al. 2019, without time warping).
        time_mask_frames: Longest time mask in frames.
        band_masks: Frequency masks per utterance.
        band_mask_bands: Widest frequency mask in mel bands.
    """

    quiet_ends: float = 0.0
    speed: float = 0.0
    vocal_tract: float = 0.0
    time_masks: int = 0
    time_mask_frames: int = 5
    band_masks: int = 0
    band_mask_bands: int = 6

    def __call__(self, features: Tensor, mask: Tensor, views: int = 1) -> tuple[Tensor, Tensor]:
        """Augments a batch.

        Args:
            features: Shape (batch, frames, mel bands), zero where masked.
            mask: Real frames, shape (batch, frames).
            views: Number of augmentations of each utterance. They have the same speed and length,
                so that their frames correspond; vocal tract length and masks differ.

        Returns:
            Features and mask, shape (views * batch, ...), the first view of all utterances before
            the second; the number of frames changes with speed and trimming.
        """
        if self.quiet_ends:
            features, mask = cut_quiet_ends(features, mask, self.quiet_ends)
        if self.speed:
            features, mask = change_speed(features, mask, self.speed)
        if views > 1:
            features, mask = features.repeat(views, 1, 1), mask.repeat(views, 1)
        return self._change_values(features, mask)

    def with_targets(
        self, features: Tensor, mask: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Augments a batch and its targets in time, which follow the change of speed alone.

        Args:
            features: As in ``__call__``.
            mask: As in ``__call__``.
            targets: A target of every few frames, shape (batch, frames / step, size), for any
                whole step.

        Returns:
            Features, mask, and targets for as many frames.
        """
        assert not self.quiet_ends
        if self.speed:
            step = -(-mask.shape[1] // targets.shape[1])
            old = mask.sum(dim=1, keepdim=True)  # (B, 1)
            new = speed_lengths(old, self.speed)
            features, mask = stretch(features, old, new)
            old, new = (-(-lengths // step) for lengths in (old, new))
            targets, _ = stretch(targets, old, new)
        features, mask = self._change_values(features, mask)
        return features, mask, targets

    def _change_values(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.vocal_tract:
            features = warp_bands(features, self.vocal_tract)
        if self.time_masks:
            keep = random_gaps(
                mask.sum(dim=1), mask.shape[1], self.time_masks, self.time_mask_frames
            )
            features = features * keep[..., None]
        if self.band_masks:
            bands = torch.full_like(mask[:, 0], features.shape[2], dtype=torch.long)
            keep = random_gaps(bands, features.shape[2], self.band_masks, self.band_mask_bands)
            features = features * keep[:, None, :]
        return features, mask


def cut_quiet_ends(features: Tensor, mask: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Trims a random part of the quiet ends, to simulate variable endpoint detection.

    The quiet ends are the frames before the first and after the last one whose mean over bands is
    above 0, the mean of the active frames (``LogMel`` with ``utterance``): silence, but also the
    closure of a final stop or a weak fricative.

    Args:
        features: Shape (batch, frames, mel bands), zero where masked.
        mask: True for real frames, shape (batch, frames).
        share: Share of the utterances that are trimmed, 0..1.
    """
    batch, num_frames = mask.shape
    device = features.device
    loud = (features.mean(dim=2) > 0) & mask
    has_loud = loud.any(dim=1)
    length = mask.sum(dim=1)
    quiet_start = loud.float().argmax(dim=1)
    quiet_end = length - num_frames + loud.flip(1).float().argmax(dim=1)
    cut = (torch.rand(batch, device=device) < share) & has_loud
    parts = torch.rand(2, batch, device=device)
    start = (parts[0] * (quiet_start + 1)).long() * cut
    end = (parts[1] * (quiet_end + 1)).long() * cut
    length = length - start - end
    frames = torch.arange(int(length.max()) if batch else 0, device=device)
    new_mask = frames < length[:, None]
    position = (frames + start[:, None]).clamp_max(num_frames - 1)
    kept = features.gather(1, position[..., None].expand(-1, -1, features.shape[2]))
    return kept * new_mask[..., None], new_mask


def change_speed(features: Tensor, mask: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """Stretches each utterance in time by a random factor, with linear interpolation.

    Args:
        features: Shape (batch, frames, features), zero where masked.
        mask: Real frames, shape (batch, frames).
        largest: Maximum relative change.
    """
    old = mask.sum(dim=1, keepdim=True)  # (B, 1)
    return stretch(features, old, speed_lengths(old, largest))


def speed_lengths(lengths: Tensor, largest: float) -> Tensor:
    """Numbers of frames after a random change of speed, shape (batch, 1).

    Args:
        lengths: Numbers of frames before it, shape (batch, 1).
        largest: Maximum relative change.
    """
    factor = 1 + largest * (2 * torch.rand(len(lengths), 1, device=lengths.device) - 1)
    return (lengths / factor).round().long().clamp_min(1)


def stretch(features: Tensor, old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Stretches each utterance to a number of frames, with linear interpolation.

    Args:
        features: Shape (batch, frames, features), zero where masked.
        old: Number of frames of each utterance, shape (batch, 1).
        new: Number of frames to stretch it to, shape (batch, 1).

    Returns:
        Features and the mask of real frames.
    """
    frames = torch.arange(int(new.max()), device=features.device)
    new_mask = frames < new
    # First and last frames map to themselves, so no position is out of range.
    position = frames * ((old - 1).clamp_min(0) / (new - 1).clamp_min(1))
    position = torch.minimum(position, (old - 1).float())
    before = position.floor()
    share = (position - before)[..., None]
    before = before.long()
    after = torch.minimum(before + 1, old - 1)
    width = features.shape[2]
    earlier = features.gather(1, before[..., None].expand(-1, -1, width))
    later = features.gather(1, after[..., None].expand(-1, -1, width))
    return torch.lerp(earlier, later, share) * new_mask[..., None], new_mask


def warp_bands(features: Tensor, largest: float) -> Tensor:
    """Warps each spectrum along the mel axis by a random factor.

    Vocal tract length perturbation (Jaitly & Hinton 2013), here linear in mel.

    Args:
        features: Shape (batch, frames, mel bands).
        largest: Maximum relative change.
    """
    device = features.device
    factor = 1 + largest * (2 * torch.rand(len(features), 1, device=device) - 1)
    num_bands = features.shape[2]
    position = (torch.arange(num_bands, device=device) * factor).clamp_max(num_bands - 1)  # (B, F)
    before = position.long()
    after = (before + 1).clamp_max(num_bands - 1)
    share = (position - before)[:, None]
    lower = features.gather(2, before[:, None].expand_as(features))
    upper = features.gather(2, after[:, None].expand_as(features))
    return torch.lerp(lower, upper, share.expand_as(features))


def random_gaps(lengths: Tensor, size: int, count: int, longest: int) -> Tensor:
    """Random masks: False within masked intervals, True elsewhere.

    Args:
        lengths: Length of each row, shape (batch,).
        size: Length of the rows, including padding.
        count: Number of masks in each row.
        longest: Maximum length of a mask; lengths are uniform from 0.

    Returns:
        Shape (batch, size), boolean.
    """
    device = lengths.device
    width = torch.rand(len(lengths), count, 1, device=device) * (longest + 1)
    width = width.floor()
    start = torch.rand(len(lengths), count, 1, device=device)
    start = (start * (lengths[:, None, None] - width + 1).clamp_min(0)).floor()
    positions = torch.arange(size, device=device)
    inside = (positions >= start) & (positions < start + width)
    return ~inside.any(dim=1)
