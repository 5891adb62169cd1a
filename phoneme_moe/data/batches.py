"""Batches: padding examples to equal length.

Legend: B batch, T frames, F features of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from phoneme_moe.data.examples import Example
from phoneme_moe.features.augmentation import Augment
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, Stage

TEACHER_SECONDS = 0.02
"""Length of the frames of ``Example.teacher``."""


@dataclass(frozen=True)
class Batch:
    """A padded batch of examples.

    Attributes:
        features: Shape (batch, frames, features), zero where masked.
        mask: True for real frames, shape (batch, frames).
        speaker: Index of the expert named after the speaker, -1 if there is none; shape (batch,).
        targets: Phonemes as output indices, shape (batch, longest), padded with zeros.
        target_lengths: Number of phonemes of each example, shape (batch,).
        examples: The examples.
        expert_log_posteriors: Cached outputs of frozen experts, shape (batch, frames, experts,
            outputs), arbitrary where masked.
        embedding: External embedding of each utterance, shape (batch, size).
        teacher: Targets of a teacher, averaged over every frame of posteriors, shape (batch, frames
            of posteriors, size), zero where masked.
    """

    features: Tensor
    mask: Tensor
    speaker: Tensor
    targets: Tensor
    target_lengths: Tensor
    examples: tuple[Example, ...]
    expert_log_posteriors: Tensor | None = None
    embedding: Tensor | None = None
    teacher: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Copies the batch to a device."""
        posteriors, embedding = self.expert_log_posteriors, self.embedding
        teacher = self.teacher
        return Batch(
            self.features.to(device),
            self.mask.to(device),
            self.speaker.to(device),
            self.targets.to(device),
            self.target_lengths.to(device),
            self.examples,
            None if posteriors is None else posteriors.to(device),
            None if embedding is None else embedding.to(device),
            None if teacher is None else teacher.to(device),
        )

    def repeated(self, times: int) -> Batch:
        """The batch several times in a row; without features, which are augmented each time."""

        def repeat(values: Tensor) -> Tensor:
            return values.repeat(times, *[1] * (values.dim() - 1))

        posteriors, embedding = self.expert_log_posteriors, self.embedding
        return replace(
            self,
            speaker=repeat(self.speaker),
            targets=repeat(self.targets),
            target_lengths=repeat(self.target_lengths),
            examples=self.examples * times,
            expert_log_posteriors=None if posteriors is None else repeat(posteriors),
            embedding=None if embedding is None else repeat(embedding),
        )


def collate(examples: Sequence[Example], recognizer: Recognizer, experts: dict[str, int]) -> Batch:
    """Pads examples into a batch.

    Args:
        examples: At least one example.
        recognizer: The model, whose phoneme set encodes the targets.
        experts: Index of each expert by name.
    """
    lengths = torch.tensor([len(e.features) for e in examples])
    posteriors = [e.expert_log_posteriors for e in examples if e.expert_log_posteriors is not None]
    embeddings = [e.embedding for e in examples if e.embedding is not None]
    features = torch.nn.utils.rnn.pad_sequence(
        [e.features for e in examples], batch_first=True
    ).float()
    # Phonemes of another corpus that the model does not have are omitted from the targets.
    known = [[p for p in e.phonemes if p in recognizer.phonemes] for e in examples]
    targets = [
        torch.tensor(recognizer.phonemes.encode(phonemes), dtype=torch.long) for phonemes in known
    ]
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
        teacher=_teacher(examples, recognizer),
    )


def _teacher(examples: Sequence[Example], recognizer: Recognizer) -> Tensor | None:
    """Targets of the teacher, averaged over the frames of posteriors."""
    step = round(recognizer.frame_seconds / TEACHER_SECONDS)
    rows = []
    for example in examples:
        if example.teacher is None:
            return None
        num_frames = -(-len(example.features) // recognizer.stack)
        states = example.teacher[: num_frames * step].float()
        # The last frame may be incomplete.
        missing = num_frames * step - len(states)
        if missing:
            states = torch.cat([states, states[-1:].expand(missing, -1)])
        rows.append(states.reshape(num_frames, step, -1).mean(dim=1))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def build_augment(recipe: Recipe, stage: Stage) -> Augment:
    """Creates the augmentation of a stage, with lengths in feature frames."""
    section = recipe.training.augmentation_of(stage)
    return Augment(
        **section.model_dump(exclude={"time_mask_ms"}),
        time_mask_frames=round(section.time_mask_ms / recipe.features.hop_ms),
    )
