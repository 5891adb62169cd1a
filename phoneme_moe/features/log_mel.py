"""Log mel features in torch, frame shifting and frame stacking.

Frame ``t`` covers the samples ``t * hop .. (t + 1) * hop``. Its analysis window is centred on them,
with zeros beyond the ends, so a recording of n samples has n // hop frames and no frame extends
past its end. ``log_mel_numpy`` has the same definition.

Legend: B batch, T frames, F features of a frame.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from phoneme_moe.features.log_mel_numpy import ACTIVE_RANGE_DB, DYNAMIC_RANGE_DB

WINDOWS = {"hann": torch.hann_window, "hamming": torch.hamming_window}


class LogMel(nn.Module):
    """Normalised log mel features, independent of the recording level.

    Invariant to gain and padding: masked frames are exactly zero and excluded from statistics.
    """

    def __init__(
        self,
        sample_rate: int,
        n_mels: int,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        window: str = "hann",
        normalization: str = "utterance",
    ) -> None:
        """Settings as in ``recipe.Features``."""
        super().__init__()
        self.sample_rate = sample_rate
        self.hop = round(sample_rate * hop_ms / 1000)
        win_length = round(sample_rate * window_ms / 1000)
        self.n_fft = 1 << (max(win_length, self.hop) - 1).bit_length()
        self.normalization = normalization
        self.n_mels = n_mels
        settings = (sample_rate, n_mels, window_ms, hop_ms, window, normalization)
        self._settings = "-".join(map(str, settings))
        self.mel = MelSpectrogram(
            sample_rate,
            n_fft=self.n_fft,
            win_length=win_length,
            hop_length=self.hop,
            n_mels=n_mels,
            center=False,
            window_fn=WINDOWS[window],
            mel_scale="htk",
            norm=None,
        )

    @property
    def name(self) -> str:
        """Name of the features: the same for the same settings."""
        return f"log-mel-{self._settings}-1"

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / self.sample_rate

    @property
    def num_features(self) -> int:
        """Features of a frame."""
        return self.n_mels

    def num_frames(self, num_samples: int) -> int:
        """Number of complete frames in ``num_samples`` samples."""
        return num_samples // self.hop

    def mel_energies(self, waveforms: Tensor) -> Tensor:
        """Power in each mel band, before the logarithm.

        Args:
            waveforms: Shape (batch, samples), zero beyond each recording's end.

        Returns:
            Shape (batch, samples // hop, n_mels).
        """
        left = (self.n_fft - self.hop) // 2
        right = self.n_fft - self.hop - left
        energies: Tensor = self.mel(nn.functional.pad(waveforms, (left, right)))
        return energies.transpose(1, 2)

    def forward(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Computes normalised log mel features.

        Args:
            waveforms: Shape (batch, samples); samples beyond each recording's end are ignored.
            num_samples: Number of samples of each recording, shape (batch,).

        Returns:
            Features of shape (batch, frames, features), zero where masked, and the mask of real
            frames, shape (batch, frames), boolean.
        """
        positions = torch.arange(waveforms.shape[1], device=waveforms.device)
        waveforms = waveforms * (positions < num_samples[:, None])
        if waveforms.shape[1] < self.hop:
            # No complete frame in the batch.
            batch = len(waveforms)
            empty = waveforms.new_zeros(batch, 0, self.n_mels)
            return empty, empty.new_zeros(batch, 0, dtype=torch.bool)
        energies = self.mel_energies(waveforms)  # (B, T, n_mels)
        frames = torch.arange(energies.shape[1], device=waveforms.device)
        mask = frames < (num_samples // self.hop)[:, None]  # (B, T)
        energies = energies * mask[..., None]
        floor = energies.amax(dim=(1, 2), keepdim=True) * 10 ** (-DYNAMIC_RANGE_DB / 10)
        log_mel = torch.log(torch.maximum(energies, floor).clamp_min(1e-30))
        return self._normalize(log_mel, mask[..., None]), mask

    def _normalize(self, log_mel: Tensor, mask: Tensor) -> Tensor:
        num_frames = mask.sum(dim=1, keepdim=True).clamp_min(1)  # (B, 1, 1)
        if self.normalization == "range":
            # Waibel et al. 1989: a token is scaled to -1..1 with mean 0 over all coefficients.
            mean = (log_mel * mask).sum(dim=(1, 2), keepdim=True) / num_frames / log_mel.shape[2]
            centred = (log_mel - mean) * mask
            scale = centred.abs().amax(dim=(1, 2), keepdim=True)
        else:
            # Over active frames only; otherwise the features would depend on surrounding silence.
            level = log_mel.amax(dim=2, keepdim=True)  # (B, T, 1)
            loudest = level.masked_fill(~mask, -torch.inf).amax(dim=1, keepdim=True)
            active = mask & (level > loudest - ACTIVE_RANGE_DB / 10 * math.log(10))
            num_active = active.sum(dim=1, keepdim=True).clamp_min(1)
            mean = (log_mel * active).sum(dim=1, keepdim=True) / num_active
            centred = (log_mel - mean) * mask
            variance = (centred * active).square().sum(dim=(1, 2), keepdim=True) / num_active
            scale = (variance / log_mel.shape[2]).sqrt()
        return centred / scale.clamp_min(1e-3)


def shift(features: Tensor, mask: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Delays features by a number of frames, repeating the first frame.

    Args:
        features: Shape (batch, frames, features), zero where masked.
        mask: True for real frames, shape (batch, frames).
        frames: Delay in frames.
    """
    if not frames:
        return features, mask
    first = features[:, :1].expand(-1, frames, -1)
    return torch.cat([first, features], dim=1), torch.cat([mask[:, :1].expand(-1, frames), mask], 1)


def stack_frames(features: Tensor, mask: Tensor, stack: int) -> tuple[Tensor, Tensor]:
    """Stacks adjacent frames into one (frame subsampling).

    Args:
        features: Shape (batch, frames, features), zero where masked.
        mask: True for real frames, shape (batch, frames).
        stack: Number of frames in a stack.

    Returns:
        Features of shape (batch, frames / stack, stack * features), and their mask: a stack is real
        if its first frame is, and padded with zeros.
    """
    if stack == 1:
        return features, mask
    missing = (
        stack - features.shape[1] % stack
    ) % stack  # ONNX does not support negative remainders
    features = nn.functional.pad(features, (0, 0, 0, missing))
    mask = nn.functional.pad(mask, (0, missing))
    batch, frames, width = features.shape
    return features.reshape(batch, frames // stack, width * stack), mask[:, ::stack]
