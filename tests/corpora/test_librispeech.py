"""LibriSpeech: tiny copies of its published layout, and real parts of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phoneme_moe.corpora import PreparedCorpus, load_corpus, prepare_corpus
from phoneme_moe.corpora.check import check_corpus
from phoneme_moe.corpora.lexicon import ARPABET
from phoneme_moe.corpora.librispeech import DEV_SPEAKERS, TEST_SPEAKERS
from phoneme_moe.corpora.splits import rank_speakers
from phoneme_moe.errors import InputError

from .layouts import make_librispeech, write_audio, write_speakers

SPLITS = ("train", "dev", "test")
FIXED = (*TEST_SPEAKERS, *DEV_SPEAKERS)
OTHERS = {str(number): "FM"[number % 2] for number in range(7001, 7013)}


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    file = tmp_path / "lexicon.txt"
    file.write_text("we W IY\ncall K AO L\n")
    return file


def speakers_of(corpus: PreparedCorpus) -> dict[str, set[str]]:
    return {split: {cut.supervisions[0].speaker for cut in corpus.cuts(split)} for split in SPLITS}


def assert_nobody_is_in_two_splits(corpus: PreparedCorpus) -> None:
    speakers = speakers_of(corpus)
    assert sum(map(len, speakers.values())) == len(set().union(*speakers.values()))


@pytest.mark.parametrize("suffix", [".flac", ".opus", ".wav"])
def test_fixed_speakers_of_a_part_are_test_and_dev(
    tmp_path: Path, lexicon: Path, suffix: str
) -> None:
    part = make_librispeech(tmp_path / "train-clean-5", [*FIXED, "7001"], suffix)
    sexes = {"1088": "F", "7001": "M"}
    write_speakers(part / "SPEAKERS.TXT", sexes)
    prepare_corpus("librispeech", part, lexicon=lexicon)
    corpus = load_corpus("librispeech")
    assert speakers_of(corpus) == {
        "train": {"7001"},
        "dev": set(DEV_SPEAKERS),
        "test": set(TEST_SPEAKERS),
    }
    assert corpus.description["speakers"] == dict.fromkeys(sorted((*FIXED, "7001"))) | sexes
    assert corpus.notes == ["speakers who are not in SPEAKERS.TXT, sex unknown: 7 (first: 118)"]
    cut = corpus.cuts("train")[0]
    assert cut.id == "7001-7-0000"
    assert cut.supervisions[0].text == "WE CALL"
    assert cut.supervisions[0].custom["phonemes"] == ["W", "IY", "K", "AO", "L"]
    assert not check_corpus(corpus).problems


def test_several_parts_are_split_as_published(tmp_path: Path, lexicon: Path) -> None:
    root = tmp_path / "unpacked" / "LibriSpeech"
    make_librispeech(root / "train-other-500", ["5001", TEST_SPEAKERS[0]])
    make_librispeech(root / "dev-clean", ["5002"])
    make_librispeech(root / "test-other", ["5003"])
    write_speakers(root / "SPEAKERS.TXT", {"5004": "F"}, "test-other")
    make_librispeech(root / "selection", ["5004"])  # the table has its part
    prepare_corpus("librispeech", root.parent, lexicon=lexicon)
    assert speakers_of(load_corpus("librispeech")) == {
        "train": {"5001"},
        "dev": {"5002"},
        "test": {"5003", "5004", TEST_SPEAKERS[0]},
    }


@pytest.mark.parametrize("part", ["train-clean-360", "dev-clean", "one-each"])
def test_a_part_without_the_fixed_speakers_is_split_by_speaker(
    tmp_path: Path, lexicon: Path, part: str
) -> None:
    write_speakers(tmp_path / "SPEAKERS.TXT", OTHERS)
    source = make_librispeech(tmp_path / part, OTHERS)
    prepare_corpus("librispeech", source, lexicon=lexicon)
    corpus = load_corpus("librispeech")
    ranked = rank_speakers(OTHERS)
    speakers = speakers_of(corpus)
    assert speakers["dev"] == set(ranked[:2])
    assert speakers["test"] == set(ranked[2:4])
    assert_nobody_is_in_two_splits(corpus)
    assert {corpus.description["speakers"][name] for name in speakers["dev"]} == {"F", "M"}


def test_utterances_of_two_parts_are_taken_once(tmp_path: Path, lexicon: Path) -> None:
    make_librispeech(tmp_path / "in" / "train-clean-5", [*FIXED, "7001"])
    make_librispeech(tmp_path / "in" / "train-clean-100", [*FIXED, "7001"])
    prepare_corpus("librispeech", tmp_path / "in", lexicon=lexicon)
    corpus = load_corpus("librispeech")
    assert [len(corpus.cuts(split)) for split in SPLITS] == [2, 8, 8]
    assert any(
        note.startswith("utterances of an earlier part, left out: 18") for note in corpus.notes
    )


def test_utterances_that_cannot_be_used_are_counted(tmp_path: Path, lexicon: Path) -> None:
    part = make_librispeech(tmp_path / "train-clean-5", [*FIXED, "7001"])
    write_audio(part / "7001" / "7" / "7001-7-0009.flac")
    transcript = part / "7001" / "7" / "7001-7.trans.txt"
    transcript.write_text("7001-7-0000 WE CALL\n7001-7-0001 WE BLORP\n")
    (part / "163" / "7" / "163-7.trans.txt").write_text("163-7-0000 WE\n163-7-0001\n")
    with pytest.raises(
        InputError, match=r"1 words are not in the lexicon: blorp \(first at .*:2\)"
    ):
        prepare_corpus("librispeech", part, lexicon=lexicon)
    prepare_corpus("librispeech", part, lexicon=lexicon, unknown_words="skip")
    corpus = load_corpus("librispeech")
    assert [cut.id for cut in corpus.cuts("train")] == ["7001-7-0000"]
    notes = "\n".join(corpus.notes)
    assert "recordings without a transcript, left out: 1 (first:" in notes
    assert "words that are not in the lexicon: 1 (first: blorp)" in notes
    assert "utterances without words, left out: 1" in notes


def test_no_lexicon(tmp_path: Path) -> None:
    part = make_librispeech(tmp_path / "train-clean-5", FIXED)
    with pytest.raises(InputError, match="lexicon: found none, expected pronunciations"):
        prepare_corpus("librispeech", part)


def test_another_layout(tmp_path: Path, lexicon: Path) -> None:
    write_audio(tmp_path / "in" / "ann" / "1.flac")
    with pytest.raises(InputError, match=r"expected SPEAKER/CHAPTER/.*; found ann$"):
        prepare_corpus("librispeech", tmp_path / "in", lexicon=lexicon)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("7001/7/7001-7.trans.txt", "7001-7-0005 WE\n", r":1: found no 7001-7-0005.flac"),
        ("7001/7/7001-7.trans.txt", "19-7-0000 WE\n", r":1: .* speaker 7001.* found '19-7-0000'"),
        ("SPEAKERS.TXT", "7001 | x | train-clean-5 | 1 | A\n", r"SPEAKERS.TXT:1: expected 'ID"),
    ],
    ids=["no recording", "another speaker", "sex"],
)
def test_a_damaged_table_is_named_with_its_line(
    tmp_path: Path, lexicon: Path, file: str, content: str, message: str
) -> None:
    part = make_librispeech(tmp_path / "train-clean-5", [*FIXED, "7001"])
    (part / file).write_text(content)
    with pytest.raises(InputError, match=message):
        prepare_corpus("librispeech", part, lexicon=lexicon)


def test_two_recordings_with_one_name(tmp_path: Path, lexicon: Path) -> None:
    part = make_librispeech(tmp_path / "train-clean-5", [*FIXED, "7001"])
    write_audio(part / "7001" / "7" / "7001-7-0000.wav")
    with pytest.raises(InputError, match=r"7001-7-0000.wav: has the same name as .*0000.flac"):
        prepare_corpus("librispeech", part, lexicon=lexicon)


@pytest.mark.slow
def test_the_real_small_part(real_corpora: Callable[[str], Path], cmudict: Path) -> None:
    source = real_corpora("librispeech") / "train-clean-5"
    prepare_corpus("librispeech", source, lexicon=cmudict, unknown_words="skip")
    corpus = load_corpus("librispeech")
    counts = corpus.description["splits"]
    assert {split: counts[split]["speakers"] for split in SPLITS} == {
        "train": 20,
        "dev": 4,
        "test": 4,
    }
    left_out = next(note for note in corpus.notes if note.startswith("utterances with words"))
    assert sum(counts[split]["utterances"] for split in SPLITS) == 1519 - 593
    assert "left out: 593 (" in left_out
    assert sum(counts[split]["seconds"] for split in SPLITS) / 3600 == pytest.approx(3.10, abs=0.01)
    assert set(corpus.phonemes) == ARPABET
    assert_nobody_is_in_two_splits(corpus)
    sexes = corpus.description["speakers"]
    for speakers in (TEST_SPEAKERS, DEV_SPEAKERS):
        assert sorted(sexes[name] for name in speakers) == ["F", "F", "M", "M"]
    others = {name: sex for name, sex in sexes.items() if name not in TEST_SPEAKERS}
    assert len(sexes) == 28
    assert set(rank_speakers(others)[:4]) == set(DEV_SPEAKERS)


@pytest.mark.slow
def test_real_single_utterances(real_corpora: Callable[[str], Path], cmudict: Path) -> None:
    source = real_corpora("librispeech") / "one-each"
    prepare_corpus("librispeech", source, lexicon=cmudict, unknown_words="skip")
    corpus = load_corpus("librispeech")
    assert {split: len(names) for split, names in speakers_of(corpus).items()} == {
        "train": 91,
        "dev": 4,
        "test": 4,
    }
    assert not set(corpus.speakers) & set(FIXED)
    assert None not in corpus.description["speakers"].values()
