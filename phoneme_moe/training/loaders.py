"""Loaders of batches: training examples in memory or streamed, and dev examples by length.

Processes that train together share every batch, so the batches, and so the number of steps, are
those of one process.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from phoneme_moe.data.batches import Batch, collate
from phoneme_moe.data.examples import Example
from phoneme_moe.data.stream import SpeechStream, StreamedExamples
from phoneme_moe.errors import InputError
from phoneme_moe.files.locks import leave_locks_to_parent
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe
from phoneme_moe.system.ranks import num_ranks, this_rank
from phoneme_moe.training.sampler import BalancedBatches

EVALUATION_BATCH = 128
"""Batch size on dev."""


class ExampleBatches(Dataset[Batch]):
    """A dataset of collated batches, indexed by lists of example indices."""

    def __init__(self, examples: Sequence[Example], recognizer: Recognizer) -> None:
        self.examples = examples
        self.recognizer = recognizer
        self.experts = {name: index for index, name in enumerate(recognizer.expert_names)}

    def __getitem__(self, indices: Any) -> Batch:
        examples = [self._at_speed(i) for i in indices]
        return collate(examples, self.recognizer, self.experts)

    def _at_speed(self, index: int) -> Example:
        """An example at its own or another speed, numbered as by ``BalancedBatches``."""
        speed, place = divmod(index, len(self.examples))
        example = self.examples[place]
        if speed == 0:
            return example
        features = example.at_speeds[speed - 1]
        return replace(example, features=features) if len(features) else example


def training_loader(
    train: Sequence[Example] | SpeechStream,
    recipe: Recipe,
    index: int,
    recognizer: Recognizer,
    steps_taken: Callable[[], int],
) -> DataLoader[Any]:
    """Batches of a training stage, in an order that depends on the seed and the epoch.

    Args:
        train: Training examples, or the stream of them.
        recipe: The recipe.
        index: Index of the stage.
        recognizer: The model.
        steps_taken: Returns the number of steps that the stage has taken.

    Raises:
        InputError: There are more processes than examples.
    """
    seed = recipe.seed * 1000 + index
    # A separate generator: a loader draws a number whenever it starts; in the first epoch after
    # resuming it starts before the epoch is seeded, otherwise after.
    generator = torch.Generator()
    if isinstance(train, SpeechStream):
        # Garbage collection in a worker would copy what it shares with this process.
        gc.freeze()
        return DataLoader(
            StreamedExamples(train.reader, this_rank(), num_ranks()),
            sampler=train.batches(seed, steps_taken),
            batch_size=None,
            generator=generator,
            num_workers=train.settings.workers,
            # Workers that begin later would share, and so keep, all that this process has by then.
            persistent_workers=train.settings.workers > 0,
            worker_init_fn=_begin_worker,
        )
    if len(train) < num_ranks():
        raise _too_many_ranks(len(train), "train")
    weights = dict(recipe.corpus.weights)
    batches = BalancedBatches(
        train,
        recipe.training.batch_size,
        seed,
        # Utterances of several corpora are named CORPUS/UTTERANCE.
        [weights.get(example.utterance.partition("/")[0], 1.0) for example in train],
        num_speeds=1 + len(recipe.training.sound_speeds),
        rank=this_rank(),
        num_ranks=num_ranks(),
    )
    return DataLoader(
        ExampleBatches(train, recognizer), sampler=batches, batch_size=None, generator=generator
    )


def _begin_worker(_: int) -> None:
    leave_locks_to_parent()


def phoneme_sequences(train: Sequence[Example] | SpeechStream) -> Iterable[tuple[str, ...]]:
    """The phonemes of all training utterances, once."""
    if isinstance(train, SpeechStream):
        return train.phonemes()
    return (example.phonemes for example in train)


def dev_loader(dev: Sequence[Example], recognizer: Recognizer) -> DataLoader[Any]:
    """Batches of dev examples of similar length, of which every process takes a part.

    Raises:
        InputError: There are more processes than examples.
    """
    return DataLoader(
        ExampleBatches(dev, recognizer), sampler=_dev_batches(dev, recognizer), batch_size=None
    )


def _dev_batches(dev: Sequence[Example], recognizer: Recognizer) -> list[list[int]]:
    """Indices of examples of similar length, of which every process takes a part.

    Speakers with and without an expert are apart.

    Raises:
        InputError: There are more processes than examples.
    """

    def has_expert(index: int) -> bool:
        return dev[index].speaker in recognizer.expert_names

    size = EVALUATION_BATCH * num_ranks()
    batches: list[list[int]] = []
    for chosen in (True, False):
        group = [index for index in range(len(dev)) if has_expert(index) == chosen]
        group.sort(key=lambda index: len(dev[index].features))
        of_group = [group[i : i + size] for i in range(0, len(group), size)]
        if len(of_group) > 1 and len(of_group[-1]) < num_ranks():
            # Experts that are spread need all processes for every batch.
            last = of_group.pop()
            of_group[-1] = of_group[-1] + last
        batches += of_group
    if max(map(len, batches)) < num_ranks():
        raise _too_many_ranks(len(dev), "dev")
    parts = [batch[this_rank() :: num_ranks()] for batch in batches]
    return [part for part in parts if part]


def _too_many_ranks(number: int, split: str) -> InputError:
    return InputError(
        f"found {num_ranks()} processes, expected at most {number}: one for each utterance of "
        f"{split}"
    )
