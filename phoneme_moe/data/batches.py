"""Examples side by side, and which of them meet.

Legend: B batch, T frames, F features of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phoneme_moe.data.examples import Example
from phoneme_moe.features.augmentation import Augment
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, Stage


@dataclass(frozen=True)
class Batch:
    """Examples side by side.

    Attributes:
        features: Shape (batch, frames, features), zero where masked.
        mask: Real frames, shape (batch, frames).
        speaker: Index of the expert that bears the speaker's name, -1 where none does; (batch,).
        targets: Output index of every phoneme, shape (batch, longest), zero beyond its length.
        target_lengths: Phonemes of each, shape (batch,).
        examples: The examples themselves.
        expert_log_posteriors: What every expert says, where that is fixed; shape (batch, frames,
            experts, outputs), arbitrary where masked.
        embedding: Of each utterance from outside, shape (batch, size), where there is one.
    """

    features: Tensor
    mask: Tensor
    speaker: Tensor
    targets: Tensor
    target_lengths: Tensor
    examples: tuple[Example, ...]
    expert_log_posteriors: Tensor | None = None
    embedding: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        known, embedding = self.expert_log_posteriors, self.embedding
        return Batch(
            self.features.to(device),
            self.mask.to(device),
            self.speaker.to(device),
            self.targets.to(device),
            self.target_lengths.to(device),
            self.examples,
            None if known is None else known.to(device),
            None if embedding is None else embedding.to(device),
        )


def collate(examples: Sequence[Example], recognizer: Recognizer, experts: dict[str, int]) -> Batch:
    """Puts examples side by side.

    Args:
        examples: At least one.
        recognizer: Whose phoneme set encodes the targets.
        experts: Index of each expert by name.
    """
    lengths = torch.tensor([len(e.features) for e in examples])
    posteriors = [e.expert_log_posteriors for e in examples if e.expert_log_posteriors is not None]
    embeddings = [e.embedding for e in examples if e.embedding is not None]
    features = torch.nn.utils.rnn.pad_sequence([e.features for e in examples], batch_first=True)
    # Another corpus may have phonemes that the model does not know; they are no targets.
    known = [[p for p in e.phonemes if p in recognizer.phonemes] for e in examples]
    targets = [torch.tensor(recognizer.phonemes.encode(own), dtype=torch.long) for own in known]
    return Batch(
        features=features,
        mask=torch.arange(features.shape[1]) < lengths[:, None],
        speaker=torch.tensor([experts.get(e.speaker, -1) for e in examples]),
        targets=torch.nn.utils.rnn.pad_sequence(targets, batch_first=True),
        target_lengths=torch.tensor([len(t) for t in targets]),
        examples=tuple(examples),
        expert_log_posteriors=(
            torch.nn.utils.rnn.pad_sequence(posteriors, batch_first=True) if posteriors else None
        ),
        embedding=torch.stack(embeddings) if embeddings else None,
    )


def build_augment(recipe: Recipe, stage: Stage) -> Augment:
    """The augmentation of a stage, in frames of the recipe's features."""
    section = recipe.training.augmentation_of(stage)
    return Augment(
        **section.model_dump(exclude={"time_mask_ms"}),
        time_mask_frames=round(section.time_mask_ms / recipe.features.hop_ms),
    )
