"""Training utterances that are streamed from shards."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.shards import write_shards
from phoneme_moe.data.bucketed_batches import StreamedBatches
from phoneme_moe.data.examples import load_examples
from phoneme_moe.data.stream import SpeechStream, StreamedExamples, in_turn
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, load_recipe
from phoneme_moe.training.stages import build_recognizer

CHANGES = ("training.stream.batch_seconds=5", "training.stream.buffer=90")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(tiny.RECIPES / "tiny_sparse.yaml", CHANGES)


@pytest.fixture(scope="module")
def recognizer(recipe: Recipe, tones: PreparedCorpus) -> Recognizer:
    return build_recognizer(recipe, tones)


@pytest.fixture(scope="module")
def stream(recipe: Recipe, tones: PreparedCorpus, recognizer: Recognizer) -> SpeechStream:
    write_shards(tones, 5)
    return SpeechStream.open(recipe, tones, recognizer, tones.speakers)


def batches_of(stream: SpeechStream, epoch: int = 0, seed: int = 3) -> StreamedBatches:
    batches = stream.batches(seed, lambda: epoch * len(batches))
    return batches


def identifiers(batches: StreamedBatches) -> list[list[str]]:
    return [[cut.id for cut, _ in batch] for batch in batches]


def test_an_epoch_has_every_utterance_once_in_batches_of_limited_duration(
    stream: SpeechStream, tones: PreparedCorpus
) -> None:
    batches = list(batches_of(stream))
    assert len(batches) == len(batches_of(stream))
    found = Counter(cut.id for batch in batches for cut, _ in batch)
    assert found == Counter(cut.id for cut in tones.iter_cuts("train"))
    for batch in batches:
        longest = max(cut.duration for cut, _ in batch)
        assert longest * (len(batch) - 1) <= 5
        assert {speed for _, speed in batch} == {1.0}


def test_a_batch_has_utterances_of_similar_length(stream: SpeechStream) -> None:
    batches = list(batches_of(stream))
    durations = [[cut.duration for cut, _ in batch] for batch in batches]
    within = np.mean([np.ptp(of_batch) for of_batch in durations])
    assert within < 0.5 * np.ptp(np.concatenate(durations))


def test_the_order_depends_on_seed_and_epoch_alone(stream: SpeechStream) -> None:
    first = identifiers(batches_of(stream))
    assert identifiers(batches_of(stream)) == first
    assert identifiers(batches_of(stream, epoch=1)) != first
    assert identifiers(batches_of(stream, seed=4)) != first


def test_all_epochs_have_as_many_batches(stream: SpeechStream) -> None:
    for epoch in range(6):
        batches = batches_of(stream, epoch)
        assert len(list(batches)) == len(batches)


def test_batch_size_limits_the_number_of_utterances(
    recipe: Recipe, tones: PreparedCorpus, recognizer: Recognizer, stream: SpeechStream
) -> None:
    training = recipe.training.model_copy(update={"batch_size": 3})
    small = recipe.model_copy(update={"training": training})
    batches = batches_of(SpeechStream.open(small, tones, recognizer, tones.speakers))
    assert max(map(len, batches)) == 3


def test_only_the_speakers_of_the_recipe_are_used(
    recipe: Recipe, tones: PreparedCorpus, recognizer: Recognizer, stream: SpeechStream
) -> None:
    chosen = SpeechStream.open(recipe, tones, recognizer, ("ann", "dan"))
    speakers = {c.supervisions[0].speaker for batch in batches_of(chosen) for c, _ in batch}
    assert speakers == {"ann", "dan"}


def test_speakers_with_experts_have_equally_many_utterances(
    tones: PreparedCorpus, stream: SpeechStream
) -> None:
    recipe = load_recipe(tiny.RECIPES / "tiny_recognize.yaml", CHANGES)
    of_speakers = SpeechStream.open(recipe, tones, build_recognizer(recipe, tones), tones.speakers)
    counts = Counter(cut.supervisions[0].speaker for cut in tones.iter_cuts("train"))
    for cut in tones.iter_cuts("train"):
        speaker = cut.supervisions[0].speaker
        assert of_speakers.weight(cut) == max(counts.values()) / counts[speaker]


def test_weights_are_how_often_an_epoch_has_an_utterance(
    stream: SpeechStream, tones: PreparedCorpus
) -> None:
    weighted = SpeechStream(
        stream.recipe, stream.shards, stream.speakers, {"ann": 2.5, "bob": 0.25}, stream.reader
    )
    number = Counter(cut.supervisions[0].speaker for cut in tones.iter_cuts("train"))
    counts = Counter(
        cut.supervisions[0].speaker
        for epoch in range(20)
        for cut in weighted._one_pass((epoch,), with_audio=False)
    )
    per_utterance = {speaker: counts[speaker] / 20 / number[speaker] for speaker in number}
    assert per_utterance == pytest.approx({"ann": 2.5, "bob": 0.25, "carol": 1, "dan": 1}, abs=0.1)


def test_examples_are_those_of_training_in_memory(
    stream: SpeechStream, recipe: Recipe, tones: PreparedCorpus, recognizer: Recognizer
) -> None:
    expected = {e.utterance: e for e in load_examples(recipe, tones, "train", recognizer)}
    dataset = StreamedExamples(stream.reader, rank=0, num_ranks=1)
    for cuts in batches_of(stream):
        batch = dataset[cuts]
        for row, example in enumerate(batch.examples):
            its = expected[example.utterance]
            length = int(batch.mask[row].sum())
            assert length == len(its.features)
            # The padding of the batch changes the rounding.
            assert torch.allclose(batch.features[row, :length], its.features, atol=1e-4)
            phonemes = batch.targets[row, : batch.target_lengths[row]].tolist()
            assert phonemes == recognizer.phonemes.encode(its.phonemes)
            assert (example.speaker, example.spans) == (its.speaker, its.spans)


def test_processes_share_every_batch(stream: SpeechStream) -> None:
    whole = StreamedExamples(stream.reader, 0, 1)
    parts = [StreamedExamples(stream.reader, rank, 2) for rank in range(2)]
    for cuts in batches_of(stream):
        names = [[e.utterance for e in dataset[cuts].examples] for dataset in (whole, *parts)]
        if len(cuts) > 1:
            assert sorted(names[1] + names[2]) == sorted(names[0])
        else:  # which both compute
            assert names[1] == names[2] == names[0]


def test_utterances_are_played_at_all_speeds(
    tones: PreparedCorpus, stream: SpeechStream, recognizer: Recognizer, recipe: Recipe
) -> None:
    training = recipe.training.model_copy(update={"sound_speeds": (0.8, 1.25)})
    faster = recipe.model_copy(update={"training": training})
    of_speeds = SpeechStream.open(faster, tones, recognizer, tones.speakers)
    original = {cut.id: cut.duration for cut in tones.iter_cuts("train")}
    batches = list(batches_of(of_speeds))
    assert {speed for batch in batches for _, speed in batch} == {0.8, 1.0, 1.25}
    dataset = StreamedExamples(of_speeds.reader, 0, 1)
    hop = recognizer.front_end.frame_seconds
    for cuts in batches[:3]:
        lengths = dataset[cuts].mask.sum(dim=1).tolist()
        for (cut, speed), length in zip(cuts, lengths, strict=True):
            assert length * hop == pytest.approx(original[cut.id] / speed, abs=2 * hop)


def test_a_sample_has_different_utterances_with_features_in_16_bits(stream: SpeechStream) -> None:
    sample = stream.sample(30)
    assert len({example.utterance for example in sample}) == 30
    assert len({example.speaker for example in sample}) == 4
    assert {example.features.dtype for example in sample} == {torch.float16}
    assert len(stream.sample(10_000)) == 96


def test_phonemes_are_those_of_all_utterances(stream: SpeechStream, tones: PreparedCorpus) -> None:
    expected = [tuple(c.supervisions[0].custom["phonemes"]) for c in tones.iter_cuts("train")]
    assert sorted(stream.phonemes()) == sorted(expected)


@given(
    lengths=st.lists(st.integers(0, 20), max_size=8),
    at_once=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_in_turn_takes_every_item_in_the_order_of_its_stream(
    lengths: list[int], at_once: int, seed: int
) -> None:
    streams = [iter([(number, i) for i in range(n)]) for number, n in enumerate(lengths)]
    taken = list(in_turn(streams, at_once, np.random.default_rng(seed)))
    assert len(taken) == sum(lengths)
    for number in range(len(lengths)):
        places = [i for stream_number, i in taken if stream_number == number]
        assert all(before < after for before, after in pairwise(places))
    # A stream is begun when one of those before it has ended.
    for index, (number, _) in enumerate(taken):
        unfinished = {n for n, _ in taken[index:] if n <= number}
        assert len(unfinished) <= at_once
