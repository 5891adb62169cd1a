"""Sampling of batches with equally many utterances of each speaker, of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from phoneme_moe.data.examples import Example


class BalancedBatches(Sampler[list[int]]):
    """Batches of similar length in which every speaker has equally many utterances.

    When each speaker has an expert, balanced batches leave no empty slot
    (``mixture.networks.speaker_dispatch``); similar lengths need little padding. The order depends
    only on the seed and the epoch, so a resumed run sees the same batches as an uninterrupted one.
    """

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int) -> None:
        self.lengths = np.array([len(e.features) for e in examples])
        speakers = sorted({e.speaker for e in examples})
        self.by_speaker = [
            np.flatnonzero([e.speaker == speaker for e in examples]) for speaker in speakers
        ]
        if len(speakers) > batch_size // 2:
            # With more speakers than fit into a batch there are no speaker experts to balance.
            self.by_speaker = [np.arange(len(examples))]
        self.per_speaker = max(1, batch_size // len(self.by_speaker))
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, on which the order depends; called by Lightning."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(-(-len(indices) // self.per_speaker) for indices in self.by_speaker)

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        batches: list[list[int]] = [[] for _ in range(len(self))]
        for indices in self.by_speaker:
            # Only nearly sorted by length, so that batches differ between epochs.
            jitter = generator.uniform(0.85, 1.15, size=len(indices))
            ordered = indices[np.argsort(self.lengths[indices] * jitter, kind="stable")]
            for batch, chosen in zip(batches, np.array_split(ordered, len(batches)), strict=True):
                batch.extend(chosen.tolist())
        yield from (batches[i] for i in generator.permutation(len(batches)) if batches[i])
