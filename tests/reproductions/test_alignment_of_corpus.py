"""A corpus gets phoneme times: the right ones, once, all or nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import alignment as benchmark
from benchmarks.alignment import onset_errors, voicing_onsets
from phoneme_moe.corpora import SPLITS, PreparedCorpus, data_root, load_corpus
from phoneme_moe_reproductions import alignment as module
from phoneme_moe_reproductions.alignment import (
    Aligner,
    align_corpus,
    aligned_corpus,
    corpus_times,
)

pytestmark = pytest.mark.slow

BRIEF = Aligner(n_mels=16, width=32, epochs=12, batch_size=8, seeds=(0,))


@pytest.fixture(scope="module")
def aligned(tones: PreparedCorpus) -> PreparedCorpus:
    return aligned_corpus(tones.name, BRIEF)


def test_onsets_are_near_the_true_ones(tones: PreparedCorpus, aligned: PreparedCorpus) -> None:
    errors = onset_errors(corpus_times(aligned), corpus_times(tones))
    assert errors["phonemes"] == sum(c["phonemes"] for c in tones.description["splits"].values())
    assert errors["median"] <= 30


def test_it_is_the_same_corpus_but_for_times(
    tones: PreparedCorpus, aligned: PreparedCorpus
) -> None:
    assert aligned.name == "tones-aligned"
    assert (aligned.phonemes, aligned.speakers) == (tones.phonemes, tones.speakers)
    assert aligned.description["settings"]["aligner"]["seeds"] == list(BRIEF.seeds)
    for split in SPLITS:
        before = {cut.id: cut for cut in tones.cuts(split)}
        after = {cut.id: cut for cut in aligned.cuts(split)}
        assert before.keys() == after.keys()
        for id, cut in after.items():
            items = cut.supervisions[0].alignment["phoneme"]
            assert [i.symbol for i in items] == before[id].supervisions[0].custom["phonemes"]
            edges = np.array([(i.start, i.end) for i in items])
            assert (edges[:, 0] < edges[:, 1]).all()
            assert (edges[1:, 0] >= edges[:-1, 1] - 1e-5).all()
            assert edges[-1, 1] <= cut.duration + 1e-5
        some = next(iter(after))
        np.testing.assert_array_equal(after[some].load_audio(), before[some].load_audio())


def test_a_second_call_does_nothing(
    tones: PreparedCorpus, aligned: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("aligned again")

    monkeypatch.setattr(module, "align_corpus", never)
    assert aligned_corpus(tones.name, BRIEF) == aligned
    with pytest.raises(AssertionError, match="aligned again"):
        aligned_corpus(tones.name, replace(BRIEF, seeds=(1,)))
    assert load_corpus(aligned.name) == aligned


def test_an_interrupted_alignment_leaves_nothing(
    tones: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        assert list(data_root().glob(".phoneme-moe.partial-*"))
        raise KeyboardInterrupt

    (tmp_path / tones.name).symlink_to(tones.folder.resolve())
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path))
    monkeypatch.setattr(module, "align_corpus", interrupted)
    with pytest.raises(KeyboardInterrupt):
        aligned_corpus(tones.name, BRIEF)
    assert [path.name for path in tmp_path.iterdir()] == [tones.name]


def test_the_same_seed_gives_the_same_times(tones: PreparedCorpus) -> None:
    brief = replace(BRIEF, epochs=4)
    first = align_corpus(tones, brief, max_utterances=4)
    assert align_corpus(tones, brief, max_utterances=4) == first
    assert align_corpus(tones, replace(brief, seeds=(1,)), max_utterances=4) != first


def test_errors_are_counted_in_milliseconds() -> None:
    errors = onset_errors({"x": [(0.1, 0.2), (0.23, 0.3)]}, {"x": [(0.1, 0.2), (0.2, 0.3)]})
    assert errors == pytest.approx(
        {"median": 15, "within_20": 50, "within_40": 100, "shift": 15, "phonemes": 2}
    )


def test_voicing_sets_in_where_the_tone_does(
    tones: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = next(iter(tones.cuts("train")))
    noise = 0.02 * np.diff(np.random.default_rng(0).standard_normal(1_601))
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(2_400) / 8_000)
    cut.supervisions[0].text = "six"
    monkeypatch.setattr(benchmark, "_cuts", lambda _: [cut])
    monkeypatch.setattr(type(cut), "load_audio", lambda _: np.concatenate([noise, tone])[None])
    assert voicing_onsets(tones)[cut.id] == pytest.approx(0.2, abs=0.01)
