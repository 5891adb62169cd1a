"""Sampling of batches with equally many utterances of each speaker, of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from phoneme_moe.data.examples import Example


class BalancedBatches(Sampler[list[int]]):
    """Batches of similar length in which every speaker has equally many utterances.

    When each speaker has an expert, balanced batches leave no empty slot
    (``mixture.networks.speaker_dispatch``); similar lengths need little padding. The order depends
    only on the seed and the epoch, so a resumed run sees the same batches as an uninterrupted one.

    Several processes that train together share each batch: the batches, and so the number of steps,
    are those of one process.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        batch_size: int,
        seed: int,
        weights: Sequence[float] | None = None,
        num_speeds: int = 1,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        """Groups the examples.

        Args:
            examples: The training examples.
            batch_size: Number of examples in a batch.
            seed: Seed of the order.
            weights: How often an epoch has each example, all alike in a group of equal weight; once
                by default. Of a weight of 2.5, every epoch has all examples twice and another half
                of them a third time.
            num_speeds: Number of speeds of each recording; example ``i`` at speed ``s`` has the
                index ``i + s * number of examples``.
            rank: Number of this process, from 0.
            num_ranks: Number of processes that share a batch.
        """
        self.lengths = np.array([len(e.features) for e in examples])
        speakers = sorted({e.speaker for e in examples})
        self.by_speaker = [
            np.flatnonzero([e.speaker == speaker for e in examples]) for speaker in speakers
        ]
        if len(speakers) > batch_size // 2:
            # With more speakers than fit into a batch there are no speaker experts to balance.
            self.by_speaker = [np.arange(len(examples))]
        self.weights = np.ones(len(examples)) if weights is None else np.array(weights)
        self.per_speaker = max(1, batch_size // len(self.by_speaker))
        self.num_speeds = num_speeds
        self.rank, self.num_ranks = rank, num_ranks
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, on which the order depends; called by Lightning."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(-(-self._num_drawn(indices) // self.per_speaker) for indices in self.by_speaker)

    def _num_drawn(self, indices: NDArray[np.int64]) -> int:
        """Number of examples that an epoch has of these."""
        return sum(number for _, number in self._by_weight(indices))

    def _by_weight(self, indices: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], int]]:
        """Groups of equal weight, with the number of examples that an epoch has of each."""
        weights = self.weights[indices]
        groups = [(weight, indices[weights == weight]) for weight in np.unique(weights)]
        return [(group, max(1, round(float(weight) * len(group)))) for weight, group in groups]

    def _draw(
        self, indices: NDArray[np.int64], generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draws the examples of an epoch, all of them if their weights are 1."""
        if (self.weights[indices] == 1).all():
            return indices
        drawn = []
        for group, number in self._by_weight(indices):
            times, rest = divmod(number, len(group))
            drawn += [np.tile(group, times), generator.permutation(group)[:rest]]
        return np.sort(np.concatenate(drawn))

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        batches: list[list[int]] = [[] for _ in range(len(self))]
        for examples in self.by_speaker:
            indices = self._draw(examples, generator)
            # Only nearly sorted by length, so that batches differ between epochs.
            jitter = generator.uniform(0.85, 1.15, size=len(indices))
            ordered = indices[np.argsort(self.lengths[indices] * jitter, kind="stable")]
            for batch, chosen in zip(batches, np.array_split(ordered, len(batches)), strict=True):
                batch.extend(chosen.tolist())
        for i in generator.permutation(len(batches)):
            batch = batches[i]
            if batch and self.num_speeds > 1:
                speeds = generator.integers(self.num_speeds, size=len(batch))
                batch = (np.array(batch) + speeds * len(self.lengths)).tolist()
            if batch:
                yield self._part(batch)

    def _part(self, batch: list[int]) -> list[int]:
        """The examples of a batch that this process computes.

        A batch lists the examples of one speaker after those of another, so every process has
        speakers as equal as the batch. One with fewer examples than processes is computed by each.
        """
        return batch[self.rank :: self.num_ranks] if len(batch) >= self.num_ranks else batch
