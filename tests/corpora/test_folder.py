"""The user's own folders: recordings with a label file of the same name beside each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from phoneme_moe.corpora import UNLABELLED, PreparedCorpus, load_corpus, prepare_corpus
from phoneme_moe.corpora.check import check_corpus
from phoneme_moe.corpora.prepare import is_prepared
from phoneme_moe.errors import InputError
from phoneme_moe.transcription.writers.textgrid import textgrid

from .layouts import make_folder, make_kaldi, write_audio

if TYPE_CHECKING:
    from conftest import Outcome

GRID = textgrid({"phones": ([(20, 80), (80, 150)], ["t͡ʃ", "a"])}, 0.2)
LONG = textgrid({"phones": ([(20, 9500)], ["a"])}, 10.0)
LAB = "0 200000 sil\n200000 800000 tʃ\n800000 1500000 a\n"


def prepared(folder: Path, **options: Any) -> PreparedCorpus:
    prepare_corpus("folder", folder, as_name="mine", progress=False, **options)
    return load_corpus("mine")


def utterances(corpus: PreparedCorpus) -> dict[str, Any]:
    cuts = [cut for split in ("train", "dev", "test") for cut in corpus.cuts(split)]
    return {cut.id: cut.supervisions[0] for cut in cuts}


def test_folders_are_speakers_and_label_files_may_differ(tmp_path: Path) -> None:
    labels = {"ann/1.TextGrid": GRID, "ann/2.lab": LAB, "ann/3.txt": "tʃ a", "bo/x/1.LAB": "ʧ a\n"}
    more = {f"bo/{number}.txt": "tʃ a" for number in range(2)}
    corpus = prepared(make_folder(tmp_path / "mine", labels | more))
    assert corpus.phonemes == ("a", "tʃ")
    assert corpus.speakers == ("ann", "bo")
    found = utterances(corpus)
    assert set(found) == {"ann-1", "ann-2", "ann-3", "bo-x-1", "bo-0", "bo-1"}
    assert all(one.custom["phonemes"] == ["tʃ", "a"] for one in found.values())
    for id in ("ann-1", "ann-2"):
        items = found[id].alignment["phoneme"]
        assert [(i.symbol, round(i.start, 6), round(i.end, 6)) for i in items] == [
            ("tʃ", 0.02, 0.08),
            ("a", 0.08, 0.15),
        ]
    assert not found["ann-3"].alignment
    assert check_corpus(corpus).problems == []
    assert corpus.notes == []


def test_names_begin_with_the_speaker_in_a_flat_folder(tmp_path: Path) -> None:
    labels = {f"{speaker}_{number}.txt": "b a" for speaker in ("ann", "bo") for number in range(3)}
    assert prepared(make_folder(tmp_path / "mine", labels)).speakers == ("ann", "bo")


def test_recordings_without_speakers_have_one_unlabelled_one(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine", {f"{letter}.txt": "b a" for letter in "xyz"})
    assert prepared(folder).speakers == (UNLABELLED,)
    make_folder(folder, {"ann_1.txt": "b"})
    with pytest.raises(InputError, match=r"x\.wav: has no speaker, unlike other recordings"):
        prepared(folder)


def test_folders_train_dev_and_test_are_the_splits(tmp_path: Path) -> None:
    labels = {f"{split}/ann/1.txt": "b a" for split in ("train", "dev", "test")}
    corpus = prepared(make_folder(tmp_path / "mine", labels))
    ids = [[cut.id for cut in corpus.cuts(split)] for split in ("train", "dev", "test")]
    assert ids == [["train-ann-1"], ["dev-ann-1"], ["test-ann-1"]]
    assert corpus.speakers == ("ann",)
    (tmp_path / "mine" / "dev").rename(tmp_path / "mine" / "valid")
    with pytest.raises(InputError, match="found folders train, test, but not dev"):
        prepared(tmp_path / "mine")


def test_recordings_without_labels_are_counted_and_named(
    tmp_path: Path, phoneme_moe: Callable[..., Outcome]
) -> None:
    folder = make_folder(tmp_path / "mine", {f"ann/{n}.txt": "b a" for n in range(3)})
    for name in ("odd", "other"):
        write_audio(folder / "ann" / f"{name}.wav")
    write_audio(folder / "ann" / "quiet.wav")
    (folder / "ann" / "quiet.txt").write_text(" \n")
    outcome = phoneme_moe("corpora", "prepare", "folder", "--from", folder, "--as", "mine")
    assert outcome.code == 0, outcome.err
    assert (
        "recordings without labels, left out: 2 (first: ann/odd.wav, ann/other.wav)" in outcome.out
    )
    assert "recordings with empty labels, left out: 1 (first: ann/quiet.wav)" in outcome.out
    assert set(utterances(load_corpus("mine"))) == {"ann-0", "ann-1", "ann-2"}


def test_files_of_operating_systems_are_left_out(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine", {f"ann/{n}.txt": "b a" for n in range(3)})
    (folder / "ann" / "._0.wav").write_bytes(b"\0\5\x16\7")
    (folder / "ann" / "._0.txt").write_bytes(b"\0\5\x16\7")
    (folder / ".DS_Store").write_bytes(b"\0")
    make_folder(folder, {"__MACOSX/ann/0.txt": "b a"})
    corpus = prepared(folder)
    assert set(utterances(corpus)) == {"ann-0", "ann-1", "ann-2"}
    assert corpus.notes == []


def test_linked_speaker_folders_are_followed_once(tmp_path: Path) -> None:
    elsewhere = make_folder(tmp_path / "disk", {f"ann/{n}.txt": "b a" for n in range(3)})
    folder = make_folder(tmp_path / "mine", {f"bo/{n}.txt": "b a" for n in range(3)})
    (folder / "ann").symlink_to(elsewhere / "ann")
    (folder / "bo" / "again").symlink_to(folder)
    corpus = prepared(folder)
    assert corpus.speakers == ("ann", "bo")
    assert len(utterances(corpus)) == 6
    (folder / "bo" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    with pytest.raises(InputError, match=r"gone\.wav: cannot be read"):
        prepared(folder)


def test_preparing_again_notices_changes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine", {f"ann/{n}.txt": "b a" for n in range(4)})
    prepared(folder)
    assert is_prepared("folder", folder, as_name="mine")
    assert not is_prepared("folder", folder, as_name="mine", symbols="ipa")
    (folder / "ann" / "3.txt").write_text("b a b")
    assert not is_prepared("folder", folder, as_name="mine")
    assert sum(s["phonemes"] for s in prepared(folder).description["splits"].values()) == 9
    write_audio(folder / "ann" / "0.wav", seconds=0.3)
    assert not is_prepared("folder", folder, as_name="mine")


@pytest.fixture
def words(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with words as labels, and a lexicon that lacks two of them."""
    labels = {f"ann/{n}.txt": "Good day" for n in range(3)}
    labels |= {"bo/1.lab": "good grief", "bo/2.txt": "Oh, GOOD grief!"}
    labels |= {"bo/3.TextGrid": textgrid({"words": ([(0, 100)], ["good"])}, 0.2)}
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("good  G UH1 D\nday  D EY1\n")
    return make_folder(tmp_path / "words", labels), lexicon


def test_a_lexicon_turns_words_into_phonemes(words: tuple[Path, Path]) -> None:
    folder, lexicon = words
    with pytest.raises(InputError, match=r"2 words are not in the lexicon: grief, oh .*bo/1\.lab"):
        prepared(folder, lexicon=lexicon)
    corpus = prepared(folder, lexicon=lexicon, unknown_words="skip")
    found = utterances(corpus)
    assert found["ann-0"].custom["phonemes"] == ["G", "UH", "D", "D", "EY"]
    assert found["ann-0"].text == "Good day"
    assert found["bo-3"].custom["phonemes"] == ["G", "UH", "D"]
    assert set(found) == {"ann-0", "ann-1", "ann-2", "bo-3"}
    left_out, unknown = corpus.notes
    assert left_out.startswith("utterances with words that are not in the lexicon, left out: 2")
    assert unknown == "words that are not in the lexicon: 2 (first: grief, oh)"


@pytest.mark.parametrize("layout", ["folder", "kaldi", "splits"])
def test_unknown_words_are_listed(
    tmp_path: Path,
    words: tuple[Path, Path],
    phoneme_moe: Callable[..., Outcome],
    layout: str,
) -> None:
    folder, lexicon = words
    texts = {"a-1": "good grief", "a-2": "Oh, GOOD grief!", "a-3": "good day"}
    if layout == "kaldi":
        folder = make_kaldi(tmp_path / "kaldi", texts)
    if layout == "splits":
        folder = tmp_path / "splits"
        for split, (id, text) in zip(("train", "dev", "test"), texts.items(), strict=True):
            make_kaldi(folder / split, {id: text})
    command = ("corpora", "unknown-words", "--from", folder, "--lexicon", lexicon)
    outcome = phoneme_moe(*command, "--json", tmp_path / "words.json")
    assert outcome.code == 0, outcome.err
    rows = [line.split("\t") for line in outcome.out.splitlines()]
    assert [row[:2] for row in rows] == [["grief", "2"], ["oh", "1"]]
    assert outcome.err.startswith(f"words that are not in {lexicon}: 2 (3 of ")
    data = json.loads((tmp_path / "words.json").read_text())
    schema = Path(__file__).parents[2] / "docs" / "schemas" / "unknown_words.schema.json"
    jsonschema.validate(data, json.loads(schema.read_text()), jsonschema.Draft202012Validator)
    assert [[word["word"], str(word["count"]), word["first"]] for word in data["words"]] == rows
    assert data["affected"] == 2


def test_kaldi_folders_skip_unknown_words_too(tmp_path: Path, words: tuple[Path, Path]) -> None:
    texts = {f"a-{number}": "good day" for number in range(3)} | {"a-9": "good grief"}
    folder = make_kaldi(tmp_path / "kaldi", texts)
    prepare_corpus("kaldi", folder, lexicon=words[1], unknown_words="skip")
    corpus = load_corpus("kaldi")
    assert set(utterances(corpus)) == {"a-0", "a-1", "a-2"}
    assert [note.partition(":")[0] for note in corpus.notes] == [
        "utterances with words that are not in the lexicon, left out",
        "words that are not in the lexicon",
    ]


@pytest.mark.parametrize(
    ("labels", "symbols", "phonemes"),
    [
        ("tS @ 2: OY t_S", "ipa", {"tʃ", "ə", "øː", "ɔʏ"}),
        ("tS @ 2: OY t_S", None, {"tS", "@", "2:", "OY", "t_S"}),
        ("CH AH0 G", "ipa", {"tʃ", "ə", "g"}),
        ("t͡ʃ ə ɡ", "xsampa", {"tS", "@", "g"}),
    ],
)
def test_labels_are_converted_if_asked_for(
    tmp_path: Path, labels: str, symbols: str | None, phonemes: set[str]
) -> None:
    folder = make_folder(tmp_path / "mine", {f"ann/{n}.txt": labels for n in range(3)})
    assert set(prepared(folder, symbols=symbols).phonemes) == phonemes


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ({}, {}, r"found 0 recordings, none with a label file"),
        ({"a/1.TextGrid": "x"}, {}, r"1\.TextGrid: line 1: expected the file type"),
        (
            {"a/1.TextGrid": GRID},
            {"tier": "w"},
            r"1\.TextGrid: expected a tier 'w', found 'phones'",
        ),
        ({"a/1.TextGrid": LONG}, {}, r"1\.TextGrid: found labels from 0.020 to 9.500 s"),
        ({"a/1.lab": "0.5 0.1 a"}, {}, r"1\.lab: line 1: found 0.5 to 0.1 s"),
        ({"a/1.txt": "CH ә"}, {"symbols": "xsampa"}, r"the labels are ipa, but phoneme 'CH'"),
        ({"a/1.txt": "a i sh"}, {"symbols": "ipa"}, r"mine: phoneme 'a': the notation of its"),
        ({"a/1.txt": "b"}, {"symbols": "sampa"}, r"symbols: found 'sampa'.*'xsampa'"),
        ({"a/1.txt": "b"}, {"unknown_words": "skip"}, "unknown_words: found no lexicon"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, labels: dict[str, str], options: dict[str, Any], message: str
) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match=message):
        prepared(make_folder(tmp_path / "mine", labels), **options)


def test_two_recordings_with_one_name_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine", {"ann/1.txt": "b"})
    write_audio(folder / "ann" / "1.flac")
    with pytest.raises(InputError, match=r"1\.wav: has the same name as .*1\.flac"):
        prepared(folder)


def test_options_of_other_corpora_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tier: corpus 'kaldi' has no use for it, only 'folder'"):
        prepare_corpus("kaldi", make_kaldi(tmp_path / "k", {"a-1": "b"}), tier="phones")


@pytest.mark.skipif(os.name == "nt", reason="names on Windows are Unicode")
def test_names_that_are_not_utf_8_are_left_out(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine", {f"ann/{n}.txt": "b a" for n in range(3)})
    write_audio(folder / "ann" / "x.wav")
    (folder / "ann" / "x.wav").rename(folder / "ann" / os.fsdecode(b"\xe4.wav"))
    assert prepared(folder).notes == [
        "recordings with names that are not UTF-8, left out: 1 (first: ann/\\xe4.wav)"
    ]
