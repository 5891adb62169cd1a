"""Learning from a pretrained encoder: prediction of its hidden states from those of the model.

Legend: B batch, T frames, H hidden size of the teacher, W width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.data.examples import Example

NUM_EXAMPLES = 200
"""Examples from which mean and variance of the hidden states are estimated."""


class TeacherHead(nn.Module):
    """A linear map from the last block of the model to the hidden states of a teacher.

    The states are standardised in each dimension, since a few dimensions of such encoders have
    values far above all others.
    """

    def __init__(self, width: int, examples: Sequence[Example]) -> None:
        """Estimates mean and variance of the states; the map starts at random.

        Args:
            width: Channels of the model's last block.
            examples: Training examples with hidden states of the teacher.
        """
        super().__init__()
        step = max(1, len(examples) // NUM_EXAMPLES)
        chosen = [e.teacher.float() for e in examples[::step] if e.teacher is not None]
        states = torch.cat(chosen)
        self.mean = nn.Buffer(states.mean(dim=0))
        self.scale = nn.Buffer(states.std(dim=0).clamp_min(1e-3))
        self.predict = nn.Linear(width, states.shape[1])

    def loss(self, hidden: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error of the standardised states; 1 for a constant prediction.

        Args:
            hidden: Output of the model's last block, shape (batch, frames, width).
            teacher: Hidden states of the teacher, shape (batch, frames, hidden size).
            mask: True for real frames, shape (batch, frames).
        """
        target = (teacher - self.mean) / self.scale
        # Extreme values would have most of a squared error.
        error = functional.smooth_l1_loss(
            self.predict(hidden).float(), target.clamp(-5, 5), reduction="none"
        )
        return error[mask].mean()
