"""Whisper's log mel spectrogram (Radford et al. 2022) of a recording of any length."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import melscale_fbanks

WINDOW = 400
STEP = 160
"""Samples of the analysis window, and from one to the next: 25 and 10 ms."""


class WhisperLogMel:
    """Computes log mel features as Whisper does, but with every frame centred on its samples."""

    def __init__(self, filters: Tensor) -> None:
        """Creates the front end.

        Args:
            filters: Mel filters, shape (frequencies, bands).
        """
        self.filters = filters

    @classmethod
    def of(cls, num_bands: int) -> WhisperLogMel:
        """Creates the front end with Whisper's filters (Slaney's mel scale and norm)."""
        filters = melscale_fbanks(
            WINDOW // 2 + 1, 0.0, 8000.0, num_bands, 16_000, norm="slaney", mel_scale="slaney"
        )
        return cls(filters)

    def __call__(self, samples: Tensor) -> Tensor:
        """Computes the features.

        Args:
            samples: Shape (samples,), a multiple of 320.

        Returns:
            Shape (bands, frames of 10 ms).
        """
        # An even frame is centred on its 20 ms.
        padded = functional.pad(samples, (40, 200))
        if torch.onnx.is_in_onnx_export():
            # As convolutions: ONNX has no complex numbers, and products with matrices would be
            # quantised with the encoder's.
            kernel = _fourier_kernel(self.filters)
            spectrum = functional.conv1d(padded[None, None], kernel, stride=STEP)
            real, imaginary = spectrum.chunk(2, dim=1)
            power = real.square() + imaginary.square()
            mel = functional.conv1d(power, self.filters.T[..., None])[0]
        else:
            window = torch.hann_window(WINDOW)
            spectrum = torch.stft(
                padded, WINDOW, STEP, window=window, center=False, return_complex=True
            )
            mel = self.filters.T @ spectrum.abs().square()
        log_mel = mel.clamp_min(1e-10).log10()
        return (torch.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0


def _fourier_kernel(filters: Tensor) -> Tensor:
    """Real, then imaginary parts of the windowed Fourier transform, as a convolution.

    Args:
        filters: Mel filters, shape (frequencies, bands).

    Returns:
        Shape (2 * frequencies, 1, window).
    """
    samples = torch.arange(WINDOW, dtype=torch.float64)
    phases = 2 * math.pi / WINDOW * torch.outer(torch.arange(len(filters)).double(), samples)
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    return (torch.cat([phases.cos(), -phases.sin()]) * window).float()[:, None]
