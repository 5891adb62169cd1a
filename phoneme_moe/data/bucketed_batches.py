"""Batches of cuts that are read from shards, of similar length and limited duration.

Cuts come in an order that is random already. They fill a buffer, from which Lhotse's
``DynamicBucketingSampler`` makes batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from torch.utils.data import Sampler

from phoneme_moe.errors import InputError
from phoneme_moe.recipe import Stream

if TYPE_CHECKING:
    from lhotse.cut import Cut

NUM_BUCKETS = 20
"""Most groups of utterances of similar length."""

CUTS_FOR_BUCKETS = 10_000
"""Cuts from whose durations the buckets are estimated."""

CutAtSpeed: TypeAlias = "tuple[Cut, float]"
"""An utterance with the speed at which its recording is played; 1 is its own."""


class StreamedBatches(Sampler[list[CutAtSpeed]]):
    """Batches of cuts with their audio, of similar length and of limited duration.

    An epoch has as many batches as one pass over the utterances makes for the first epoch. Others
    may make a few more, which are left out, or fewer, and then begin another pass. What an epoch
    has depends only on the seed and on its number.
    """

    def __init__(
        self,
        one_pass: Callable[[Sequence[int], bool], Iterator[Cut]],
        settings: Stream,
        batch_size: int,
        sound_speeds: Sequence[float],
        seed: int,
        steps_taken: Callable[[], int],
    ) -> None:
        """Counts the batches of an epoch, without audio.

        Args:
            one_pass: Returns the cuts in an order that depends on a seed, with audio or without.
            settings: Duration of a batch and size of the buffer.
            batch_size: Most utterances of a batch.
            sound_speeds: Speeds besides 1; every utterance has one of all in an epoch.
            seed: Seed of the order.
            steps_taken: Returns the number of steps taken, which tells the epoch that begins. With
                workers, Lightning draws from the first epoch after a checkpoint before it calls
                ``set_epoch`` (Lightning #21938).

        Raises:
            InputError: There are no utterances.
        """
        self.one_pass = one_pass
        self.settings = settings
        self.batch_size = batch_size
        self.speeds = np.array([1.0, *sound_speeds])
        self.seed = seed
        self.steps_taken = steps_taken
        self.bins = self._duration_bins()
        self.num_batches = sum(1 for _ in self._batches_of_pass((seed, 0, 0), with_audio=False))

    def _duration_bins(self) -> list[float]:
        """Durations that separate the buckets, in seconds."""
        from lhotse.dataset.sampling.base import TimeConstraint
        from lhotse.dataset.sampling.dynamic_bucketing import estimate_duration_buckets

        def first_cuts() -> Iterator[Cut]:
            return islice(self.one_pass((self.seed, 0, 0), False), CUTS_FOR_BUCKETS)

        durations = np.array([cut.duration for cut in first_cuts()])
        if not len(durations):
            raise InputError("corpus: found no utterance in the shards, expected at least one")
        limit = TimeConstraint(self.settings.batch_seconds, max_cuts=self.batch_size)
        # The buffer has a full batch of every bucket, on average.
        buffered = min(self.settings.buffer, len(durations)) * float(durations.mean())
        most = int(buffered / self.settings.batch_seconds) - 1
        number = min(most, NUM_BUCKETS, len(np.unique(durations)))
        if number < 2:
            return [math.inf]
        return list(estimate_duration_buckets(first_cuts(), number, constraint=limit))

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[CutAtSpeed]]:
        epoch = self.steps_taken() // self.num_batches
        generator = np.random.default_rng([self.seed, epoch])
        passes = (
            batch
            for number in count()
            for batch in self._batches_of_pass((self.seed, epoch, number), with_audio=True)
        )
        for batch in islice(passes, self.num_batches):
            speeds = self.speeds[generator.integers(len(self.speeds), size=len(batch))]
            yield list(zip(batch, speeds.tolist(), strict=True))

    def _batches_of_pass(self, seed: Sequence[int], with_audio: bool) -> Iterable[list[Cut]]:
        from lhotse.dataset import DynamicBucketingSampler

        sampler = DynamicBucketingSampler(
            self.one_pass(seed, with_audio),
            max_duration=self.settings.batch_seconds,
            max_cuts=self.batch_size,
            shuffle=True,
            duration_bins=self.bins,
            buffer_size=self.settings.buffer,
            # All ranks draw the same batches, of which each computes a part.
            world_size=1,
            rank=0,
            seed=int(np.random.default_rng(seed).integers(1 << 31)),
        )
        return (list(batch) for batch in sampler)
