"""The synthetic announcers: words, splits, times, and the same sound every time."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("parselmouth")

import soundfile

from phoneme_moe.corpora.announcers.corpus import (
    MIN_TOKENS,
    STOPS,
    plan_renditions,
    pronounce_words,
    read_words,
    speak_corpus,
    split_words,
    word_list,
)
from phoneme_moe.corpora.announcers.voices import ANNOUNCERS, FOLD, fold_labels
from phoneme_moe.corpora.registry import Preparation
from phoneme_moe.errors import InputError

pytestmark = pytest.mark.slow

WORDS = ["だいがく", "ばら", "がか", "でぐち", "ぶどう", "ごぼう", "あご", "うで", "かべ", "かど",
         "びわ", "カード", "きって", "びょうき"]  # fmt: skip


@pytest.fixture(scope="module")
def words() -> list[str]:
    return read_words(word_list())


@pytest.fixture(scope="module")
def pronunciations(words: list[str]) -> dict[str, tuple[str, ...]]:
    return pronounce_words(words)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list]]:
    folder = tmp_path_factory.mktemp("announcers")
    return folder, dict(speak_corpus(Preparation(folder), WORDS, min_tokens=4))


def test_word_list(words: list[str]) -> None:
    assert len(words) >= 800
    assert len(set(words)) == len(words)
    for line in word_list().read_text("utf-8").splitlines():
        assert line.startswith("#") or len(line.split("\t")) == 2


def test_every_word_is_divided_once(
    words: list[str], pronunciations: dict[str, tuple[str, ...]]
) -> None:
    splits = split_words(pronunciations)
    assert sorted(word for its in splits.values() for word in its) == sorted(words)
    sounds = {split: {pronunciations[word] for word in its} for split, its in splits.items()}
    assert not sounds["train"] & sounds["test"]
    assert not sounds["dev"] & (sounds["train"] | sounds["test"])
    assert len(splits["train"]) == pytest.approx(0.45 * len(words), rel=0.05)
    assert split_words(dict(reversed(pronunciations.items()))).keys() == splits.keys()


def test_the_whole_list_gives_enough_stops(pronunciations: dict[str, tuple[str, ...]]) -> None:
    for split, its_words in split_words(pronunciations).items():
        if split == "dev":
            continue
        planned = plan_renditions(its_words, pronunciations, MIN_TOKENS)
        tokens = Counter(phoneme for word, _ in planned for phoneme in pronunciations[word])
        assert len(set(planned)) == len(planned)
        assert {word for word, _ in planned} == set(its_words)
        for stop in STOPS:
            assert MIN_TOKENS <= tokens[stop] <= MIN_TOKENS + 20


def test_six_announcers_four_men() -> None:
    assert [announcer.sex for announcer in ANNOUNCERS] == ["M"] * 4 + ["F"] * 2
    assert len({announcer.voice for announcer in ANNOUNCERS}) == 6


def test_times_lie_inside_the_file_in_order(spoken: tuple[Path, dict[str, list]]) -> None:
    folder, splits = spoken
    for cut in (cut for cuts in splits.values() for cut in cuts):
        path = folder / cut.recording.sources[0].source
        header = soundfile.info(path)
        assert (header.samplerate, header.channels) == (16_000, 1)
        assert header.frames == cut.recording.num_samples
        (supervision,) = cut.supervisions
        items = supervision.alignment["phoneme"]
        assert [item.symbol for item in items] == supervision.custom["phonemes"]
        end = 0.0
        for item in items:
            assert item.start >= end - 1e-6
            assert item.duration > 0
            end = item.end
        assert end <= cut.duration + 1e-6


def test_every_speaker_has_the_requested_tokens(spoken: tuple[Path, dict[str, list]]) -> None:
    for split in ("train", "test"):
        tokens: dict[str, Counter[str]] = {announcer.name: Counter() for announcer in ANNOUNCERS}
        for cut in spoken[1][split]:
            supervision = cut.supervisions[0]
            tokens[supervision.speaker].update(supervision.custom["phonemes"])
        for counts in tokens.values():
            assert all(counts[stop] >= 4 for stop in STOPS)


def test_speakers_say_the_same_phonemes(spoken: tuple[Path, dict[str, list]]) -> None:
    sequences_of: dict[str, set[tuple[str, ...]]] = {}
    for cut in (cut for cuts in spoken[1].values() for cut in cuts):
        sequences_of.setdefault(cut.supervisions[0].text, set()).add(
            tuple(cut.supervisions[0].custom["phonemes"])
        )
    assert all(len(sequences) == 1 for sequences in sequences_of.values())
    assert sequences_of["だいがく"] == {("d", "a", "i", "g", "a", "k", "u")}
    assert sequences_of["びょうき"] == {("b", "y", "o", "u", "k", "i")}
    assert sequences_of["きって"] == {("k", "i", "t", "e")}


def test_homophones_stay_together(spoken: tuple[Path, dict[str, list]]) -> None:
    where = {c.supervisions[0].text: split for split, cuts in spoken[1].items() for c in cuts}
    assert where["かど"] == where["カード"]


def test_the_same_words_sound_the_same(
    spoken: tuple[Path, dict[str, list]], tmp_path: Path
) -> None:
    folder, splits = spoken
    again = speak_corpus(Preparation(tmp_path), WORDS, min_tokens=4)
    assert {split: list(cuts) for split, cuts in again.items()} == splits
    assert _digests(tmp_path) == _digests(folder)


def test_renditions_differ(spoken: tuple[Path, dict[str, list]]) -> None:
    digests = _digests(spoken[0])
    assert len(set(digests.values())) == len(digests)


def test_a_sound_without_a_phoneme_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'ヴ': found eSpeak label 'v'"):
        pronounce_words(["ばら", "ヴ"])
    with pytest.raises(InputError, match="'x'"):
        fold_labels([("x", 0.0, 0.1)], "word")


def test_the_fold_joins_the_halves_of_a_double_consonant() -> None:
    labels = [("", 0.0, 0.1), ("k", 0.1, 0.2), ("k", 0.2, 0.3), ("ä", 0.3, 0.4)]
    assert fold_labels(labels, "っか") == (("k", "a"), ((0.1, 0.3), (0.3, 0.4)))
    assert set(STOPS) <= set(FOLD.values())


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.flac"))
    }
