from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.splits import rank
from phoneme_moe.data.batches import collate
from phoneme_moe.data.examples import Example, corpus_phonemes, load_examples
from phoneme_moe.data.speakers import corpus_speakers
from phoneme_moe.errors import InputError
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, load_recipe
from phoneme_moe.training.sampler import BalancedBatches
from phoneme_moe.training.stages import build_recognizer

CLEAN = ["corpus.snr_db=null"]


def classify_recipe(*changes: str) -> Recipe:
    return load_recipe(tiny.RECIPES / "tiny_classify.yaml", changes)


def recognize_recipe(*changes: str) -> Recipe:
    return load_recipe(tiny.RECIPES / "tiny_recognize.yaml", changes)


def example(name: str, speaker: str, frames: int, phonemes: str = "a") -> Example:
    features = torch.arange(frames * 2.0).reshape(frames, 2) + 1
    return Example(name, speaker, tuple(phonemes), features)


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    batch_size=st.integers(1, 16),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
)
@settings(max_examples=60)
def test_every_example_comes_once_in_an_epoch(
    counts: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    examples = [
        example(f"{speaker}-{i}", str(speaker), 1 + (7 * i + speaker) % 20)
        for speaker, count in enumerate(counts)
        for i in range(count)
    ]
    batches = BalancedBatches(examples, batch_size, seed)
    batches.set_epoch(epoch)
    drawn = list(batches)
    assert sorted(index for batch in drawn for index in batch) == list(range(len(examples)))
    assert len(drawn) == len(batches)
    assert all(batch for batch in drawn)


@given(per_speaker=st.integers(1, 20), speakers=st.integers(1, 6), share=st.integers(2, 5))
@settings(max_examples=40)
def test_equally_many_utterances_of_each_speaker_stay_equally_many_in_a_batch(
    per_speaker: int, speakers: int, share: int
) -> None:
    examples = [
        example(f"{speaker}-{i}", str(speaker), 5 + i)
        for speaker in range(speakers)
        for i in range(per_speaker)
    ]
    for batch in BalancedBatches(examples, speakers * share, seed=0):
        found = [examples[index].speaker for index in batch]
        assert len({found.count(str(speaker)) for speaker in range(speakers)}) == 1
        assert len(batch) <= speakers * share


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    examples = [example(str(i), "ab"[i % 2], 5 + i % 9) for i in range(40)]

    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = BalancedBatches(examples, 8, seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1, 3) == order(1, 3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)
    again = BalancedBatches(examples, 8, 1)
    list(again)
    again.set_epoch(3)
    assert list(again) == order(1, 3)


def test_similar_lengths_share_a_batch() -> None:
    random = np.random.default_rng(0)
    examples = [
        example(str(i), "ab"[i % 2], int(n)) for i, n in enumerate(random.integers(5, 200, 200))
    ]
    lengths = np.array([len(e.features) for e in examples])
    batches = list(BalancedBatches(examples, 20, 0))
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.3 * lengths.sum()


def test_collating_puts_everything_in_its_row(tones: PreparedCorpus) -> None:
    recognizer = build_recognizer(recognize_recipe(), tones)
    examples = [example("x", "bob", 3, "ai"), example("y", "eve", 5, "s"), example("z", "ann", 1)]
    batch = collate(examples, recognizer, {"ann": 0, "bob": 1})
    assert batch.features.shape == (3, 5, 2)
    assert batch.mask.sum(dim=1).tolist() == [3, 5, 1]
    for row, one in enumerate(examples):
        assert torch.equal(batch.features[row, : len(one.features)], one.features)
    assert not batch.features[~batch.mask].any()
    assert batch.speaker.tolist() == [1, -1, 0]
    assert batch.target_lengths.tolist() == [2, 1, 1]
    encoded = [recognizer.phonemes.encode(one.phonemes) for one in examples]
    assert [
        row[:n].tolist() for row, n in zip(batch.targets, batch.target_lengths, strict=True)
    ] == encoded
    assert batch.examples == tuple(examples)


def test_utterances_are_the_cuts_of_the_requested_speakers(tones: PreparedCorpus) -> None:
    recipe = recognize_recipe()
    recognizer = build_recognizer(recipe, tones)
    examples = load_examples(recipe, tones, "train", recognizer, ["ann", "bob"])
    cuts = {cut.id: cut for cut in tones.cuts("train")}
    expected = {id for id, cut in cuts.items() if cut.supervisions[0].speaker in {"ann", "bob"}}
    assert {one.utterance for one in examples} == expected
    for one in examples:
        cut = cuts[one.utterance]
        assert one.speaker == cut.supervisions[0].speaker
        assert list(one.phonemes) == cut.supervisions[0].custom["phonemes"]
        assert [span[0] for span in one.spans] == list(one.phonemes)
        assert len(one.features) == cut.num_samples // 80


def test_features_are_those_that_the_model_computes_of_the_sound(tones: PreparedCorpus) -> None:
    recipe = recognize_recipe()
    recognizer = build_recognizer(recipe, tones)
    by_name = {e.utterance: e for e in load_examples(recipe, tones, "dev", recognizer)}
    for cut in tones.cuts("dev"):
        samples = torch.from_numpy(cut.load_audio())
        features, _ = recognizer.front_end(samples, torch.tensor([samples.shape[1]]))
        torch.testing.assert_close(by_name[cut.id].features, features[0], atol=1e-4, rtol=1e-4)


def test_a_token_has_its_phoneme_at_the_onset_and_exactly_the_frames_wanted(
    tones: PreparedCorpus,
) -> None:
    recipe = classify_recipe(*CLEAN)
    recognizer = build_recognizer(recipe, tones)
    tokens = {e.utterance: e for e in load_examples(recipe, tones, "train", recognizer)}
    near_an_end = 0
    expected_names = set()
    for cut in tones.cuts("train"):
        samples, rate = soundfile.read(cut.recording.sources[0].source, dtype="float32")
        assert rate == tiny.RATE
        for number, item in enumerate(cut.supervisions[0].alignment["phoneme"]):
            if item.symbol == "s":
                continue
            name = f"{cut.id}#{number}"
            expected_names.add(name)
            first = round((item.start - 0.060) * rate)
            near_an_end += first < 0 or first + 1200 > len(samples)
            around = np.pad(samples, 5_000)[first + 5_000 : first + 5_000 + 1200]
            features, _ = recognizer.front_end(torch.from_numpy(around)[None], torch.tensor([1200]))
            assert tokens[name].features.shape == (15, 16)
            assert tokens[name].phonemes == (item.symbol,)
            assert tokens[name].speaker == cut.supervisions[0].speaker
            torch.testing.assert_close(tokens[name].features, features[0], atol=1e-4, rtol=1e-4)
            ((symbol, start, end),) = tokens[name].spans
            assert symbol == item.symbol
            assert start == pytest.approx(0.06)
            assert end - start == pytest.approx(item.duration)
    assert set(tokens) == expected_names
    assert near_an_end > 0


def test_the_phoneme_sounds_from_the_onset_on(tones: PreparedCorpus) -> None:
    recipe = classify_recipe(*CLEAN)
    recognizer = build_recognizer(recipe, tones)
    tokens = load_examples(recipe, tones, "train", recognizer)
    level = torch.stack([token.features.mean(dim=1) for token in tokens]).mean(dim=0)
    # 60 ms in: before it a pause of 30 ms, after it the tone.
    assert (level[6:] > level[3:6].mean() + 0.1).all()


def test_noise_is_the_same_each_time_and_another_with_another_seed(tones: PreparedCorpus) -> None:
    def features(*changes: str) -> torch.Tensor:
        recipe = classify_recipe(*changes)
        recognizer = build_recognizer(recipe, tones)
        return torch.stack([e.features for e in load_examples(recipe, tones, "dev", recognizer)])

    noisy = features()
    assert torch.equal(features(), noisy)
    assert not torch.allclose(features("corpus.noise_seed=1"), noisy, atol=0.05)
    assert not torch.allclose(features(*CLEAN), noisy, atol=0.05)


def test_noise_does_not_depend_on_which_speakers_are_loaded(tones: PreparedCorpus) -> None:
    recipe = classify_recipe()
    recognizer = build_recognizer(recipe, tones)
    everyone = {e.utterance: e for e in load_examples(recipe, tones, "dev", recognizer)}
    for one in load_examples(recipe, tones, "dev", recognizer, ["carol"]):
        torch.testing.assert_close(
            one.features, everyone[one.utterance].features, atol=1e-5, rtol=1e-5
        )


def test_at_most_so_many_utterances_of_each_speaker(tones: PreparedCorpus) -> None:
    recipe = recognize_recipe("corpus.max_utterances=2")
    recognizer = build_recognizer(recipe, tones)
    examples = load_examples(recipe, tones, "train", recognizer, tuple(tiny.SPEAKERS))
    counts = [sum(e.speaker == speaker for e in examples) for speaker in tiny.SPEAKERS]
    assert counts == [2, 2, 2, 2]
    more = load_examples(
        recognize_recipe("corpus.max_utterances=3"), tones, "train", recognizer, tiny.SPEAKERS
    )
    assert {e.utterance for e in examples} < {e.utterance for e in more}
    everything = load_examples(recognize_recipe(), tones, "train", recognizer, tiny.SPEAKERS)
    for speaker in tiny.SPEAKERS:
        names = [e.utterance for e in everything if e.speaker == speaker]
        drawn = sorted(names, key=rank)[:2]
        assert [e.utterance for e in examples if e.speaker == speaker] == [
            name for name in names if name in drawn
        ]


def test_held_out_speakers_have_no_expert_and_no_training_data(tones: PreparedCorpus) -> None:
    recipe = classify_recipe()
    speakers = corpus_speakers(recipe, tones)
    assert speakers == ("ann", "bob", "carol")
    recognizer = build_recognizer(recipe, tones)
    assert recognizer.expert_names == speakers
    for split in ("train", "dev"):
        examples = load_examples(recipe, tones, split, recognizer, speakers)
        assert {e.speaker for e in examples} == set(speakers)


def test_phonemes_are_those_of_the_task_or_of_the_corpus(tones: PreparedCorpus) -> None:
    assert corpus_phonemes(classify_recipe(), tones) == ("a", "i", "m")
    assert corpus_phonemes(recognize_recipe(), tones) == ("a", "i", "m", "s")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("corpus.speakers=[ann, bop]", "no speaker 'bop' (did you mean 'bob'?)"),
        ("corpus.held_out_speakers=[dann]", "no speaker 'dann' (did you mean 'dan'?)"),
        ("corpus.held_out_speakers=[ann, bob, carol, dan]", "no speaker remains for training"),
        ("task.phonemes=[a, i, zz]", "no phoneme 'zz'"),
    ],
)
def test_names_that_the_corpus_does_not_have_are_refused(
    tones: PreparedCorpus, change: str, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        build_recognizer(classify_recipe(change), tones)
    assert words in str(caught.value)


def test_an_empty_split_is_refused(
    tones: PreparedCorpus, classified_recognizer: Recognizer
) -> None:
    recipe = classify_recipe()
    with pytest.raises(
        InputError, match="the test split has no usable utterance of the speakers eve"
    ):
        load_examples(recipe, tones, "test", classified_recognizer, ["eve"])
    with pytest.raises(InputError, match="split 'tests'"):
        load_examples(recipe, tones, "tests", classified_recognizer)


@pytest.fixture
def classified_recognizer(tones: PreparedCorpus) -> Recognizer:
    return build_recognizer(classify_recipe(), tones)


def test_the_seed_decides_the_first_weights(tones: PreparedCorpus) -> None:
    def weights(*changes: str) -> torch.Tensor:
        recognizer = build_recognizer(recognize_recipe(*changes), tones)
        return torch.cat([p.detach().flatten() for p in recognizer.parameters()])

    torch.manual_seed(99)
    first = weights()
    torch.manual_seed(100)
    assert torch.equal(weights(), first)
    assert not torch.equal(weights("seed=4"), first)


def test_phonemes_of_a_recipe_may_be_spelled_otherwise(tones: PreparedCorpus) -> None:
    corpus = replace(tones, phonemes=("a", "g", "tʃ"))
    respelled = recognize_recipe("task.phonemes=[t͡ʃ, ɡ]")
    assert corpus_phonemes(respelled, corpus) == ("tʃ", "g")
    with pytest.raises(InputError, match=r"task\.phonemes: found spellings of 'tʃ' more than once"):
        corpus_phonemes(recognize_recipe("task.phonemes=[t͡ʃ, ʧ]"), corpus)
    with pytest.raises(InputError, match=r"task\.phonemes: tones has no phoneme 'dʒ'"):
        corpus_phonemes(recognize_recipe("task.phonemes=[dʒ]"), corpus)
