"""AN4: tiny copies of CMU's layout, and the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from phoneme_moe.corpora import load_corpus, prepare_corpus
from phoneme_moe.corpora.an4 import NUM_DEV_SPEAKERS
from phoneme_moe.corpora.check import check_corpus
from phoneme_moe.corpora.lexicon import ARPABET
from phoneme_moe.errors import InputError

from .layouts import make_an4, write_audio

TRAIN = [f"{sex}{name}" for sex in "fm" for name in ("ash", "bbh", "clc", "ejs", "fmm", "jam")]


def speakers(split: str) -> set[str]:
    return {cut.supervisions[0].speaker for cut in load_corpus("an4").cuts(split)}


@pytest.mark.parametrize("inside", ["", "an4"])
def test_published_test_speakers_are_test(tmp_path: Path, inside: str) -> None:
    make_an4(tmp_path / "in" / inside, TRAIN, ["fjlp", "marh"])
    prepare_corpus("an4", tmp_path / "in")
    corpus = load_corpus("an4")
    assert speakers("test") == {"fjlp", "marh"}
    assert {name[0] for name in speakers("dev")} == {"f", "m"}
    assert speakers("train") | speakers("dev") == set(TRAIN)
    assert not speakers("train") & speakers("dev")
    assert all(sex == name[0].upper() for name, sex in corpus.description["speakers"].items())
    cut = corpus.cuts("test")[0]
    assert cut.id == "an1-fjlp-b"
    assert cut.supervisions[0].text == "A ONE"
    assert cut.supervisions[0].custom["phonemes"] == ["AH", "HH", "W", "AH", "N"]
    words = [[["AH"], ["EY"]], [["HH", "W", "AH", "N"], ["W", "AH", "N"]]]
    assert cut.supervisions[0].custom["pronunciations"] == words
    assert corpus.phonemes == ("AH", "EY", "HH", "N", "W")  # no SIL
    assert not check_corpus(corpus).problems


def test_sphere_files(tmp_path: Path) -> None:
    folder = make_an4(tmp_path / "in", TRAIN, ["fjlp"])
    for file in sorted(folder.rglob("*.wav")):
        samples, rate = soundfile.read(file)
        soundfile.write(file.with_suffix(".sph"), samples, rate, format="NIST")
        file.unlink()
    prepare_corpus("an4", folder)
    assert len(load_corpus("an4").cuts("test")) == 2


def test_a_lexicon_replaces_the_dictionary(tmp_path: Path) -> None:
    folder = make_an4(tmp_path / "in", TRAIN, ["fjlp"])
    (folder / "etc" / "an4.dic").unlink()
    with pytest.raises(InputError, match=r"etc/an4.dic missing"):
        prepare_corpus("an4", folder)
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("a EY1\none W AH1 N\n")
    prepare_corpus("an4", folder, lexicon=lexicon)
    cut = load_corpus("an4").cuts("test")[0]
    assert cut.supervisions[0].custom["phonemes"] == ["EY", "W", "AH", "N"]


def test_a_speaker_of_both_parts_is_in_test_alone(tmp_path: Path) -> None:
    prepare_corpus("an4", make_an4(tmp_path / "in", [*TRAIN, "mboth"], ["fjlp"]))
    assert "mboth" not in speakers("test")
    folder = make_an4(tmp_path / "both", [*TRAIN, "mboth"], ["fjlp"])
    for table, line in (("fileids", "an4_clstk/mboth/an1-mboth-b"), ("transcription", "")):
        file = folder / "etc" / f"an4_test.{table}"
        file.write_text(file.read_text() + (line or "A (an1-mboth-b)") + "\n")
    for table in ("fileids", "transcription"):
        file = folder / "etc" / f"an4_train.{table}"
        lines = [line for line in file.read_text().splitlines() if "an1-mboth" not in line]
        file.write_text("\n".join(lines) + "\n")
    prepare_corpus("an4", folder, as_name="both")
    corpus = load_corpus("both")
    ids = {cut.id for cut in corpus.cuts("test") if cut.supervisions[0].speaker == "mboth"}
    assert ids == {"an1-mboth-b", "cen2-mboth-b"}


def test_recordings_that_no_list_names_are_counted(tmp_path: Path) -> None:
    folder = make_an4(tmp_path / "in", TRAIN, ["fjlp"])
    write_audio(folder / "wav" / "an4test_clstk" / "fcaw" / "an406-fcaw-b.wav")
    prepare_corpus("an4", folder)
    (note,) = load_corpus("an4").notes
    assert note.startswith("recordings without a transcription, left out: 1 (first: ")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("an4_test.fileids", "x/fjlp/fjlp\n", r"fileids:1: expected 'FOLDER/NAME-SPEAKER-b'"),
        ("an4_test.fileids", "x/fjlp/an9-fjlp-b\n", r"fileids:1: 'an9-fjlp-b' is not in etc/an4_"),
        (
            "an4_test.fileids",
            "x/fjlp/an1-fjlp-b\n",
            r"fileids:1: found no wav/x/fjlp/an1-fjlp-b.sp",
        ),
        ("an4_test.transcription", "A ONE\n", r"transcription:1: expected 'WORDS \(UTTERANCE\)'"),
        ("an4_test.transcription", "A (x)\nA (x)\n", r"transcription:2: 'x' occurs twice"),
        ("an4_test.transcription", "B (an1-fjlp-b)\nA (cen2-fjlp-b)\n", r"not in the lexicon: b "),
    ],
    ids=["name", "no text", "no recording", "no id", "twice", "unknown word"],
)
def test_a_damaged_table_is_named_with_its_line(
    tmp_path: Path, file: str, content: str, message: str
) -> None:
    folder = make_an4(tmp_path / "in", TRAIN, ["fjlp"])
    (folder / "etc" / file).write_text(content)
    with pytest.raises(InputError, match=message):
        prepare_corpus("an4", folder)


def test_a_missing_table(tmp_path: Path) -> None:
    folder = make_an4(tmp_path / "in", TRAIN, ["fjlp"])
    (folder / "etc" / "an4_test.fileids").unlink()
    with pytest.raises(InputError, match=r"not a folder of AN4: .*etc/an4_test.fileids missing"):
        prepare_corpus("an4", folder)


@pytest.mark.slow
def test_the_real_corpus(real_corpora: Callable[[str], Path]) -> None:
    prepare_corpus("an4", real_corpora("an4"))
    corpus = load_corpus("an4")
    counts = corpus.description["splits"]
    assert counts["train"]["utterances"] + counts["dev"]["utterances"] == 948
    assert counts["test"]["utterances"] in {117, 130}  # some copies do not list fcaw
    assert len(speakers("dev")) == NUM_DEV_SPEAKERS
    assert sorted(name[0] for name in speakers("dev")) == ["f"] * 4 + ["m"] * 4
    # mdcs and mdcs2 may be one person.
    trained = {name.rstrip("2") for name in speakers("train")}
    assert not trained & {name.rstrip("2") for name in speakers("dev") | speakers("test")}
    assert len(corpus.speakers) == sum(counts[split]["speakers"] for split in counts)
    assert sum(counts[split]["seconds"] for split in counts) / 3600 == pytest.approx(0.8, abs=0.02)
    assert set(corpus.phonemes) < ARPABET
