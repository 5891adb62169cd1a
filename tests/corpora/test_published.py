"""Corpora that others publish: FSDD and speechocean762, as tiny copies and the real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phoneme_moe.corpora import load_corpus, prepare_corpus
from phoneme_moe.corpora.check import check_corpus
from phoneme_moe.corpora.fsdd import DIGITS
from phoneme_moe.corpora.lexicon import ARPABET, fold_arpabet
from phoneme_moe.errors import InputError

from .layouts import make_fsdd, make_speechocean762, write_table


def test_arpabet_has_39_phonemes_and_folds_marks() -> None:
    assert len(ARPABET) == 39
    assert fold_arpabet("IH1_B") == "IH"
    assert fold_arpabet("AO0") == "AO"
    assert fold_arpabet("a1") == "a1"  # not ARPABET: a tone perhaps
    assert {phoneme for _, word in DIGITS for phoneme in word.split()} <= ARPABET


@pytest.mark.parametrize("inside", ["", "recordings"])
def test_fsdd_takes_make_the_splits(tmp_path: Path, inside: str) -> None:
    prepare_corpus("fsdd", make_fsdd(tmp_path / "fsdd") / inside)
    corpus = load_corpus("fsdd")
    assert corpus.speakers == ("ann", "bob")
    for split, take in (("train", "10"), ("dev", "5"), ("test", "0")):
        cuts = corpus.cuts(split)
        assert len(cuts) == 20
        assert {cut.id.split("_")[2] for cut in cuts} == {take}
    (six,) = [cut for cut in corpus.cuts("test") if cut.id == "6_bob_0"]
    assert six.supervisions[0].custom["phonemes"] == ["S", "IH", "K", "S"]
    assert six.supervisions[0].gender == "M"
    assert six.load_audio().shape == (1, 800)


def test_a_folder_without_fsdd_files_is_refused_with_the_expected_names(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "song.mp3").touch()
    with pytest.raises(InputError, match=r"recordings/7_jackson_32.wav, found song.mp3"):
        prepare_corpus("fsdd", tmp_path / "other")


@pytest.mark.slow
def test_fsdd_real(real_corpora: Callable[[str], Path]) -> None:
    prepare_corpus("fsdd", real_corpora("fsdd"))
    corpus = load_corpus("fsdd")
    assert len(corpus.speakers) == 6
    assert len(corpus.phonemes) == 19
    assert [len(corpus.cuts(split)) for split in ("dev", "test")] == [300, 300]
    assert not check_corpus(corpus).problems


def test_speechocean762_layout(tmp_path: Path) -> None:
    prepare_corpus("speechocean762", make_speechocean762(tmp_path / "so"))
    corpus = load_corpus("speechocean762")
    speakers = {
        split: {cut.supervisions[0].speaker for cut in corpus.cuts(split)}
        for split in ("train", "dev", "test")
    }
    assert {split: len(its) for split, its in speakers.items()} == {
        "train": 2,
        "dev": 10,
        "test": 2,
    }
    assert not speakers["train"] & speakers["dev"]
    sexes = [cut.supervisions[0].gender for cut in corpus.cuts("dev")]
    assert sexes.count("M") == sexes.count("F") == 5
    supervision = corpus.cuts("test")[0].supervisions[0]
    assert supervision.custom == {"phonemes": ["W", "IY", "K", "AO", "L"], "age": 7}
    assert supervision.alignment is None
    assert not check_corpus(corpus).problems


@pytest.mark.parametrize(
    ("table", "entries", "message"),
    [
        ("resource/text-phone", {"000010011.0": "W_B QQ_E"}, r"text-phone:1: 'QQ_E'"),
        ("train/spk2gender", {"0000": "x"}, r"spk2gender:1: expected 'm' or 'f', found 'x'"),
        ("train/wav.scp", {"000010011": "WAVE/none.WAV"}, r"wav.scp:1: no such audio file"),
    ],
)
def test_speechocean762_names_file_and_line(
    tmp_path: Path, table: str, entries: dict[str, str], message: str
) -> None:
    folder = make_speechocean762(tmp_path / "so")
    if table == "resource/text-phone":
        (folder / table).write_text("000010011.0 W_B QQ_E\n")
    else:
        write_table(folder / table, entries)
    with pytest.raises(InputError, match=message):
        prepare_corpus("speechocean762", folder)


def test_speechocean762_missing_table(tmp_path: Path) -> None:
    folder = make_speechocean762(tmp_path / "so")
    (folder / "test" / "spk2age").unlink()
    with pytest.raises(InputError, match="test/spk2age missing, found WAVE, resource, test, train"):
        prepare_corpus("speechocean762", folder)


@pytest.mark.slow
def test_speechocean762_real(real_corpora: Callable[[str], Path]) -> None:
    prepare_corpus("speechocean762", real_corpora("speechocean762"))
    corpus = load_corpus("speechocean762")
    assert set(corpus.phonemes) == ARPABET
    dev = corpus.cuts("dev")
    assert len({cut.supervisions[0].speaker for cut in dev}) == 10
    first = dev[0]
    assert first.load_audio().shape == (1, first.recording.num_samples)
    assert np.isfinite(first.load_audio()).all()
