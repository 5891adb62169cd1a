"""Training utterances that are read from shards again in every epoch, and never all in memory.

Cuts come from a few shards at a time and are batched (``data.bucketed_batches``). A batch is a list
of cuts with their audio, which worker processes decode and compute the features of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Dataset

from phoneme_moe.audio.waveform import change_sound_speed
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.shards import Shard, find_shards
from phoneme_moe.data.batches import Batch, collate
from phoneme_moe.data.bucketed_batches import CutAtSpeed, StreamedBatches
from phoneme_moe.data.embeddings import Embeddings
from phoneme_moe.data.example_features import compute_features
from phoneme_moe.data.examples import NO_FEATURES, Example, cut_examples, find_embeddings
from phoneme_moe.errors import InputError
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, Stream

if TYPE_CHECKING:
    from lhotse.cut import Cut

SHARDS_AT_ONCE = 8
"""Shards from which cuts are taken in turn."""


@dataclass(frozen=True)
class SpeechStream:
    """The training utterances of a recipe, in shards.

    Attributes:
        recipe: The recipe.
        shards: All shards of its corpus.
        speakers: Speakers of the recipe.
        weights: How often an epoch has the utterances of a corpus or a speaker, by name; once by
            default.
        reader: Makes examples of cuts.
    """

    recipe: Recipe
    shards: Sequence[Shard]
    speakers: frozenset[str]
    weights: dict[str, float]
    reader: ExampleReader

    @classmethod
    def open(
        cls, recipe: Recipe, corpus: PreparedCorpus, recognizer: Recognizer, speakers: Sequence[str]
    ) -> SpeechStream:
        """Finds the shards of a corpus.

        If speakers have experts, an epoch has equally many utterances of each speaker.

        Args:
            recipe: A recipe with ``training.stream``.
            corpus: Its corpus.
            recognizer: The model on the CPU, which is copied.
            speakers: Speakers to use.

        Raises:
            InputError: The corpus has no shards, or an embedding file cannot be read.
        """
        reader = ExampleReader(recipe, deepcopy(recognizer), find_embeddings(recipe, recognizer))
        stream = cls(
            recipe,
            find_shards(corpus),
            frozenset(speakers),
            dict(recipe.corpus.weights),
            reader,
        )
        if set(recognizer.expert_names).isdisjoint(speakers):
            return stream
        return replace(stream, weights=stream.weights | stream._equal_speakers())

    @property
    def settings(self) -> Stream:
        """How it is read."""
        assert self.recipe.training.stream is not None
        return self.recipe.training.stream

    def _equal_speakers(self) -> dict[str, float]:
        """Weights by which all speakers have as much as the one with most utterances."""
        counts: Counter[str] = Counter()
        for cut in self._cuts():
            counts[cut.supervisions[0].speaker] += 1
        return {speaker: max(counts.values()) / number for speaker, number in counts.items()}

    def _cuts(self) -> Iterator[Cut]:
        """The utterances that are used, once, without audio."""
        return (
            cut
            for shard in self.shards
            for cut in shard.read(with_audio=False)
            if self.weight(cut) > 0
        )

    def weight(self, cut: Cut) -> float:
        """How often an epoch has an utterance on average; 0 for what is too short or not used."""
        speaker = cut.supervisions[0].speaker
        if speaker not in self.speakers:
            return 0.0
        front_end = self.reader.recognizer.front_end
        if not front_end.num_frames(int(cut.duration * front_end.sample_rate)):
            return 0.0
        # Utterances of several corpora are named CORPUS/UTTERANCE.
        of_corpus = self.weights.get(cut.id.partition("/")[0], 1.0)
        return of_corpus * self.weights.get(speaker, 1.0)

    def phonemes(self) -> Iterator[tuple[str, ...]]:
        """The phonemes of each utterance, once."""
        spell = self.reader.recognizer.phonemes.spell
        return (spell(cut.supervisions[0].custom["phonemes"]) for cut in self._cuts())

    def sample(self, number: int) -> list[Example]:
        """Random utterances with their features in 16 bits."""
        examples: list[Example] = []
        for cut in islice(self._one_pass([self.recipe.seed], with_audio=True), number):
            examples += self.reader.read([(cut, 1.0)])
        return [replace(example, features=example.features.half()) for example in examples]

    def _one_pass(self, seed: Sequence[int], with_audio: bool) -> Iterator[Cut]:
        """All utterances in random order, each as often as its weight."""
        generator = np.random.default_rng(seed)
        shards = [self.shards[i].read(with_audio) for i in generator.permutation(len(self.shards))]
        for cut in in_turn(shards, SHARDS_AT_ONCE, generator):
            weight = self.weight(cut)
            times = int(weight) + (generator.random() < weight % 1 if weight % 1 else 0)
            for _ in range(times):
                yield cut

    def batches(self, seed: int, steps_taken: Callable[[], int]) -> StreamedBatches:
        """Batches of a training stage.

        Args:
            seed: Seed of the stage.
            steps_taken: Returns the number of steps that the stage has taken.
        """
        return StreamedBatches(
            self._one_pass,
            self.settings,
            self.recipe.training.batch_size,
            self.recipe.training.sound_speeds,
            seed,
            steps_taken,
        )


def in_turn(
    streams: Sequence[Iterator[Cut]], at_once: int, generator: np.random.Generator
) -> Iterator[Cut]:
    """Takes items from a few streams at a time, each from a random one, to the end of all.

    Args:
        streams: The streams, of which those that come first are begun first.
        at_once: Number of streams that are begun and not ended.
        generator: Chooses the streams.
    """
    waiting = list(reversed(streams))
    begun: list[Iterator[Cut]] = []
    while waiting or begun:
        while waiting and len(begun) < at_once:
            begun.append(waiting.pop())
        chosen = int(generator.integers(len(begun)))
        try:
            yield next(begun[chosen])
        except StopIteration:
            del begun[chosen]


@dataclass(frozen=True)
class ExampleReader:
    """Makes examples of cuts.

    Attributes:
        recipe: Specifies the noise.
        recognizer: Computes the features; on the CPU, since worker processes use it.
        embeddings: Embeddings, if the routers need them.
    """

    recipe: Recipe
    recognizer: Recognizer
    embeddings: Embeddings | None

    def read(self, cuts: Sequence[CutAtSpeed]) -> list[Example]:
        """The examples, with features.

        Raises:
            InputError: A recording is damaged, or an embedding is missing.
        """
        examples, sounds = [], []
        for cut, speed in cuts:
            for example, sound in cut_examples(self.recipe, self.recognizer, cut, self.embeddings):
                examples.append(example)
                change = partial(change_sound_speed, speed=speed)
                sounds.append(sound if speed == 1 else sound.changed(change, "speed", speed))
        features = compute_features(sounds, self.recognizer, on_disk=False)
        return [
            replace(example, features=its) for example, its in zip(examples, features, strict=True)
        ]


class StreamedExamples(Dataset["Batch | InputError"]):
    """A dataset of batches, indexed by cuts with audio."""

    def __init__(self, reader: ExampleReader, rank: int, num_ranks: int) -> None:
        """As ``training.sampler.BalancedBatches``: processes share every batch.

        Args:
            reader: Makes examples.
            rank: Number of this process, from 0.
            num_ranks: Number of processes that share a batch.
        """
        self.reader = reader
        self.rank, self.num_ranks = rank, num_ranks
        names = reader.recognizer.expert_names
        self.experts = {name: index for index, name in enumerate(names)}

    def __getitem__(self, cuts: Sequence[CutAtSpeed]) -> Batch | InputError:
        """The batch of this process, or what is wrong with it.

        An error is returned, since a loader would add the traceback of its worker to the message.
        """
        part = cuts[self.rank :: self.num_ranks] if len(cuts) >= self.num_ranks else cuts
        try:
            examples = self.reader.read(part)
        except InputError as error:
            return error
        batch = collate(examples, self.reader.recognizer, self.experts)
        # Features are in the batch; twice, they would also take twice as long to come here.
        bare = tuple(replace(example, features=NO_FEATURES) for example in examples)
        return replace(batch, examples=bare)
