"""Examples side by side, and which of them meet.

Legend: B batch, T frames, F features of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from phoneme_moe.recognizer import Recognizer
from phoneme_moe.training.data import Example


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


class BalancedBatches(Sampler[list[int]]):
    """Batches of similar length in which every speaker has equally many utterances.

    Balanced batches leave no empty slot when each speaker has an expert of his own
    (``mixture.dispatch``), and similar lengths leave little padding. The order follows from the
    seed and the epoch alone, so a resumed run sees the same batches as an uninterrupted one.
    """

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int) -> None:
        self.lengths = np.array([len(e.features) for e in examples])
        speakers = sorted({e.speaker for e in examples})
        self.by_speaker = [
            np.flatnonzero([e.speaker == speaker for e in examples]) for speaker in speakers
        ]
        if len(speakers) > batch_size // 2:
            # More speakers than fit side by side: no experts of their own, balance is moot.
            self.by_speaker = [np.arange(len(examples))]
        self.per_speaker = max(1, batch_size // len(self.by_speaker))
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of this epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(-(-len(own) // self.per_speaker) for own in self.by_speaker)

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        batches: list[list[int]] = [[] for _ in range(len(self))]
        for own in self.by_speaker:
            # Nearly sorted: which utterances meet still changes from epoch to epoch.
            jitter = generator.uniform(0.85, 1.15, size=len(own))
            ordered = own[np.argsort(self.lengths[own] * jitter, kind="stable")]
            for batch, chosen in zip(batches, np.array_split(ordered, len(batches)), strict=True):
                batch.extend(chosen.tolist())
        yield from (batches[i] for i in generator.permutation(len(batches)) if batches[i])
