"""Common Voice: tiny copies of its published layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.corpora import load_corpus, prepare_corpus
from phoneme_moe.corpora.check import check_corpus
from phoneme_moe.corpora.commonvoice import shorten_names
from phoneme_moe.errors import InputError

from .layouts import make_commonvoice

SPLITS = ("train", "dev", "test")
MANY = [f"{number:04x}" for number in range(20)]
PUBLISHED = {"train": ["a1", "a2"], "dev": ["b1"], "test": ["c1"], "validated": ["d1"]}


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    file = tmp_path / "lexicon.txt"
    file.write_text("we W IY\ncall K AO L\nca'll K AO L\n")
    return file


def speakers(split: str) -> set[str]:
    return {cut.supervisions[0].speaker for cut in load_corpus("commonvoice").cuts(split)}


@pytest.mark.parametrize("suffix", [".mp3", ".opus", ".wav"])
@pytest.mark.parametrize(
    ("gender", "sex"),
    [("male", "M"), ("female_feminine", "F"), ("other", None), ("", None), ("non-binary", None)],
)
def test_published_splits(
    tmp_path: Path, lexicon: Path, suffix: str, gender: str, sex: str | None
) -> None:
    source = make_commonvoice(tmp_path / "en", PUBLISHED, suffix, gender)
    prepare_corpus("commonvoice", source, lexicon=lexicon)
    corpus = load_corpus("commonvoice")
    names = {name: name.ljust(16, "f") for name in ("a1", "a2", "b1", "c1")}
    assert speakers("train") == {names["a1"], names["a2"]}
    assert speakers("dev") == {names["b1"]}
    assert speakers("test") == {names["c1"]}
    assert set(corpus.description["speakers"].values()) == {sex}
    first, second = corpus.cuts("dev")
    assert first.id == "common_voice_en_b10"
    assert first.supervisions[0].text == "We ca’LL"
    assert second.supervisions[0].text == '"We call."'
    assert second.supervisions[0].custom["phonemes"] == ["W", "IY", "K", "AO", "L"]
    assert not check_corpus(corpus).problems


def test_validated_clips_are_split_by_speaker(tmp_path: Path, lexicon: Path) -> None:
    prepare_corpus(
        "commonvoice", make_commonvoice(tmp_path / "en", {"validated": MANY}), lexicon=lexicon
    )
    assert [len(speakers(split)) for split in SPLITS] == [16, 2, 2]
    assert len(set().union(*map(speakers, SPLITS))) == 20


def test_a_speaker_of_two_splits_is_in_the_last_one(tmp_path: Path, lexicon: Path) -> None:
    source = make_commonvoice(tmp_path / "en", PUBLISHED)
    table = source / "train.tsv"
    table.write_text(table.read_text("utf-8").replace("a2".ljust(128, "f"), "c1".ljust(128, "f")))
    prepare_corpus("commonvoice", source, lexicon=lexicon)
    assert speakers("train") == {"a1".ljust(16, "f")}
    assert len(load_corpus("commonvoice").cuts("test")) == 4


def test_names_of_speakers_stay_different(tmp_path: Path, lexicon: Path) -> None:
    tables = {"train": ["0" * 40 + "1", "0" * 40 + "2"], "dev": ["3"], "test": ["4"]}
    prepare_corpus("commonvoice", make_commonvoice(tmp_path / "en", tables), lexicon=lexicon)
    assert speakers("train") == {"0" * 40 + "1", "0" * 40 + "2"}


@given(st.sets(st.text("0f", min_size=1, max_size=40)))
def test_short_names_are_unique_beginnings(names: set[str]) -> None:
    short = shorten_names(names)
    assert set(short) == names
    assert len(set(short.values())) == len(names)
    assert all(name.startswith(its) for name, its in short.items())


def test_tables_without_suffixes_in_them(tmp_path: Path, lexicon: Path) -> None:
    source = make_commonvoice(tmp_path / "en", PUBLISHED)
    for table in source.glob("*.tsv"):
        table.write_text(table.read_text("utf-8").replace(".mp3", ""), "utf-8")
    prepare_corpus("commonvoice", source, lexicon=lexicon)
    assert len(load_corpus("commonvoice").cuts("train")) == 4


HEADER = "client_id\tpath\tsentence\n"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("client_id\tpath\n", r"train.tsv:1: found the columns client_id, path; .* also sentence"),
        ("", r"train.tsv:1: found the columns ; expected also client_id, path, sentence"),
        (HEADER + "x\ty.mp3\n", r"train.tsv:2: found 2 cells, expected 3"),
        (HEADER + "x\ty.mp3\tWe\n", r"train.tsv:2: found no clip 'y.mp3' in .*clips"),
        (HEADER + "x\t../y.mp3\tWe\n", r"train.tsv:2: path: found '../y.mp3', not a name"),
        (HEADER + "\ty.mp3\tWe\n", r"train.tsv:2: client_id: found '', not a name"),
        (HEADER + f"x\t{'y' * 999}.mp3\tWe\n", r"train.tsv:2: found no clip 'yyy"),
        (HEADER + "x\tcommon_voice_en_b10.mp3\tWe\n", r"dev.tsv:2: .*b10.mp3' occurs twice \("),
        (
            HEADER + "x\tcommon_voice_en_a10.mp3\tWe blorp\n",
            r"the lexicon: blorp \(first at",
        ),
    ],
    ids=["column", "empty", "cells", "clip", "path", "client", "long", "twice", "word"],
)
def test_a_damaged_table_is_named_with_its_line(
    tmp_path: Path, lexicon: Path, table: str, message: str
) -> None:
    source = make_commonvoice(tmp_path / "en", PUBLISHED)
    (source / "train.tsv").write_text(table)
    with pytest.raises(InputError, match=message) as caught:
        prepare_corpus("commonvoice", source, lexicon=lexicon)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_files(tmp_path: Path, lexicon: Path) -> None:
    source = make_commonvoice(tmp_path / "en", PUBLISHED)
    with pytest.raises(InputError, match="lexicon: found none, expected pronunciations"):
        prepare_corpus("commonvoice", source)
    (source / "dev.tsv").unlink()
    with pytest.raises(InputError, match=r"dev.tsv missing, found clips, test.tsv, train.tsv"):
        prepare_corpus("commonvoice", source, lexicon=lexicon)
    with pytest.raises(InputError, match=r"not a language of Common Voice: looked for validated.t"):
        prepare_corpus("commonvoice", source.parent, lexicon=lexicon)
