"""The user's own recordings: Kaldi folders and Lhotse manifests."""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from phoneme_moe.audio import AudioWarning
from phoneme_moe.corpora import SPLITS, UNLABELLED, load_corpus, prepare_corpus
from phoneme_moe.corpora.cut_audio import load_cut
from phoneme_moe.errors import ArgumentError, InputError

from .layouts import make_kaldi, make_librispeech, write_audio, write_table

TEXTS = {f"{speaker}-{n}": "b a d a" for speaker in ("ana", "bo") for n in range(20)}


def test_one_folder_is_split_within_each_speaker(tmp_path: Path) -> None:
    folder = make_kaldi(tmp_path / "mine", TEXTS)
    write_table(folder / "spk2gender", {"ana": "f"})
    prepare_corpus("kaldi", folder, as_name="mine")
    corpus = load_corpus("mine")
    assert corpus.phonemes == ("a", "b", "d")
    assert corpus.description["speakers"] == {"ana": "F", "bo": None}
    ids = {}
    for split, num_each in (("train", 16), ("dev", 2), ("test", 2)):
        cuts = corpus.cuts(split)
        speakers = [cut.supervisions[0].speaker for cut in cuts]
        assert speakers.count("ana") == speakers.count("bo") == num_each
        ids[split] = {cut.id for cut in cuts}
    assert len(ids["train"] | ids["dev"] | ids["test"]) == 40


def test_speakers_with_three_utterances_are_in_every_split(tmp_path: Path) -> None:
    prepare_corpus("kaldi", make_kaldi(tmp_path / "k", dict.fromkeys(("a-1", "a-2", "a-3"), "b")))
    assert [len(load_corpus("kaldi").cuts(s)) for s in ("train", "dev", "test")] == [1, 1, 1]


def test_too_few_utterances_for_three_splits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no utterances for the split 'dev'"):
        prepare_corpus("kaldi", make_kaldi(tmp_path / "k", {"a-1": "b", "a-2": "d"}))


def test_subfolders_are_the_splits(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "dev", "test")):
        make_kaldi(tmp_path / "k" / split, {f"a-{number}": "b a"})
    prepare_corpus("kaldi", tmp_path / "k")
    assert [load_corpus("kaldi").cuts(s)[0].id for s in ("train", "dev", "test")] == [
        "a-0",
        "a-1",
        "a-2",
    ]


def test_same_id_in_two_subfolders_is_refused(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        make_kaldi(tmp_path / "k" / split, {"a-0": "b a"})
    with pytest.raises(InputError, match=r"'a-0' is in 'train' and again in 'dev'"):
        prepare_corpus("kaldi", tmp_path / "k")


def test_segments_cut_utterances_out_of_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "k"
    write_audio(folder / "long.wav", seconds=2.0)
    write_table(folder / "wav.scp", {"rec": "long.wav"})
    ids = ["a-1", "a-2", "a-3"]
    write_table(folder / "utt2spk", dict.fromkeys(ids, "a"))
    write_table(folder / "text", dict.fromkeys(ids, "b a"))
    spans = {"a-1": "rec 0.0 0.5", "a-2": "rec 0.5 1.25", "a-3": "rec 1.25 2.005"}
    write_table(folder / "segments", spans)
    prepare_corpus("kaldi", folder)
    cuts = {c.id: c for s in ("train", "dev", "test") for c in load_corpus("kaldi").cuts(s)}
    samples, _ = soundfile.read(folder / "long.wav", dtype="float32")
    assert (cuts["a-2"].load_audio()[0] == samples[8_000:20_000]).all()
    assert cuts["a-3"].end == 2.0  # half a hundredth past the end is rounding, not an error


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("wav.scp", "ana-0 sox a.wav -t wav - |", r"wav.scp:1: found the command"),
        ("wav.scp", "ana-0 gone.wav", r"wav.scp:1: no such audio file"),
        ("wav.scp", "ana-0 text", r"wav.scp:1: .* not readable as audio"),
        ("utt2spk", "ana-0", r"utt2spk:1: expected 'UTTERANCE SPEAKER', found 'ana-0'"),
        ("utt2spk", "ana-0 ana\nana-0 bo", r"utt2spk:2: 'ana-0' occurs twice \(.*utt2spk:1\)"),
        ("utt2spk", "zoe-0 zoe", r"text:1: 'ana-0' is not in .*utt2spk"),
        (
            "wav.scp",
            "ana-0 sph2pipe -f wav a.sph |",
            r"wav.scp:1: .*SPHERE files can be given direc",
        ),
        ("wav.scp", "ana-0 raw.ark:123", r"wav.scp:1: found 'raw.ark:123', a place in a Kaldi ar"),
        ("wav.scp", "ana-0 " + "x" * 999, r"wav.scp:1: 'x{80}': File name too long"),
        ("segments", "ana-0 ana-0 0.1 0.1", r"segments:1: found 0.1 to 0.1 s, expected an end aft"),
        ("segments", "ana-0 ana-0 -1 0.1", r"segments:1: found -1.0 to 0.1 s"),
        ("segments", "ana-0 ana-0 nan 0.1", r"segments:1: expected 'UTTERANCE RECORDING START EN"),
        ("segments", "ana-0 ana-0 0 1e999", r"segments:1: found 0.0 to inf s"),
        (
            "segments",
            "ana-0 ana-0 0 0.1 1",
            r"segments:1: found the channel 1, but .* has 1, f",
        ),
        ("segments", "ana-0 ana-0 0.2 -1", r"segments:1: 0.2 to 0.2 s is not within"),
        ("text", "zoe-9 b a", r"text:1: 'zoe-9' is not in .*utt2spk"),
        ("segments", "ana-0 ana-0 zero 1", r"segments:1: expected 'UTTERANCE RECORDING START END'"),
        ("segments", "ana-0 ana-0 0 0.71", r"segments:1: 0.0 to 0.71 s is not within"),
        ("segments", "ana-0 rec 0 0.1", r"segments:1: 'rec' is not in"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, table: str, line: str, message: str) -> None:
    folder = make_kaldi(tmp_path / "k", TEXTS)
    write_table(folder / "segments", {id: f"{id} 0 0.2" for id in TEXTS})
    lines = (folder / table).read_text().splitlines()
    (folder / table).write_text("\n".join([line, *lines[1:]]) + "\n")
    with pytest.raises(InputError, match=message):
        prepare_corpus("kaldi", folder)


def test_segments_have_the_meaning_of_kaldi(tmp_path: Path) -> None:
    folder = tmp_path / "k"
    write_audio(folder / "long.wav", seconds=2.0)
    write_table(folder / "wav.scp", {"unused": "gone.wav", "rec": "long.wav"})
    spans = {
        "b-2": "rec 0.5 -1",
        "a-1": "rec 1.5 2.45 0",
        "b-1": "rec 1.95 -1.0",
        "a-2": "rec 0 1e0",
        "c-1": "rec 1.0\t1.2",
    }
    write_table(folder / "segments", spans)
    write_table(folder / "utt2spk", {id: id[0] for id in spans})
    (folder / "text").write_bytes(b"a-2 b a\r\nb-2  \t b\r\n\r\na-1 a\r\nb-1 b\r\na-0\r\n")
    for split, others in (("dev", ["d-1"]), ("test", ["e-1"])):
        make_kaldi(tmp_path / "all" / split, dict.fromkeys(others, "b a"))
    folder.rename(tmp_path / "all" / "train")
    with pytest.raises(InputError, match=r"text:6: 'a-0' is not in .*utt2spk"):
        prepare_corpus("kaldi", tmp_path / "all")
    table = tmp_path / "all" / "train" / "utt2spk"
    table.write_text(table.read_text() + "a-0 a\n")
    segments = tmp_path / "all" / "train" / "segments"
    segments.write_text(segments.read_text() + "a-0 rec 0 2\n")
    prepare_corpus("kaldi", tmp_path / "all")
    corpus = load_corpus("kaldi")
    times = {cut.id: (cut.start, cut.end) for cut in corpus.cuts("train")}
    assert times == {"a-2": (0.0, 1.0), "b-2": (0.5, 2.0), "a-1": (1.5, 2.0)}
    assert corpus.notes == [
        f"utterances without words, left out: 1 (first: {tmp_path}/all/train/text:6)",
        f"utterances without a text, left out: 1 (first: {segments}:5)",
        f"segments that end after their recording, trimmed: 1 (first: {segments}:2)",
        f"segments of less than 0.1 s, left out: 1 (first: {segments}:3)",
    ]


def test_segments_may_name_a_channel(tmp_path: Path) -> None:
    folder = tmp_path / "k"
    folder.mkdir()
    both = (0.1 * np.random.default_rng(0).standard_normal((16_000, 2))).astype(np.float32)
    soundfile.write(folder / "both.wav", both, 16_000, subtype="FLOAT")
    write_table(folder / "wav.scp", {"rec": "both.wav"})
    spans = {"a-0": "rec 0 0.5 0", "a-1": "rec 0 0.5 1", "a-2": "rec 0 0.5"}
    write_table(folder / "segments", spans)
    write_table(folder / "utt2spk", dict.fromkeys(spans, "a"))
    write_table(folder / "text", dict.fromkeys(spans, "b a"))
    prepare_corpus("kaldi", folder)
    cuts = {c.id: c for s in ("train", "dev", "test") for c in load_corpus("kaldi").cuts(s)}
    for id, samples in (("a-0", both[:, 0]), ("a-1", both[:, 1]), ("a-2", both.mean(axis=1))):
        np.testing.assert_allclose(load_cut(cuts[id], 16_000), samples[:8_000], atol=1e-6)
    write_table(folder / "segments", spans | {"a-1": "rec 0 0.5 A"})
    with pytest.raises(InputError, match=r"segments:2: found 'A', expected a channel, from 0"):
        prepare_corpus("kaldi", folder)


def test_speakers_may_be_in_spk2utt(tmp_path: Path) -> None:
    folder = make_kaldi(tmp_path / "k", TEXTS)
    (folder / "utt2spk").unlink()
    ids = {speaker: [id for id in TEXTS if id.startswith(speaker)] for speaker in ("bo", "ana")}
    write_table(folder / "spk2utt", {speaker: " ".join(its) for speaker, its in ids.items()})
    prepare_corpus("kaldi", folder)
    assert load_corpus("kaldi").speakers == ("ana", "bo")
    write_table(folder / "spk2utt", {"bo": "bo-1 ana-1", "ana": "ana-1"})
    with pytest.raises(InputError, match=r"spk2utt:2: 'ana-1' occurs twice \(.*spk2utt:1\)"):
        prepare_corpus("kaldi", folder)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_of_any_editor(tmp_path: Path, encoding: str, end: str) -> None:
    folder = make_kaldi(tmp_path / "k", TEXTS)
    for name in ("wav.scp", "text", "utt2spk"):
        lines = (folder / name).read_text().splitlines()
        # Unsorted, with a line separator of Unicode, which editors do not count.
        text = end.join([*reversed(lines), ""]).replace(" b a d a", "\tb a\u2028d a")
        (folder / name).write_bytes(text.encode(encoding))
    prepare_corpus("kaldi", folder)
    assert load_corpus("kaldi").phonemes == ("a", "b", "d")
    (folder / "text").write_bytes(f"ana-0 a\u2028b{end}nobody a{end}".encode(encoding))
    with pytest.raises(InputError, match=r"text:2: 'nobody' is not in"):
        prepare_corpus("kaldi", folder)


def test_channels_are_mixed_unless_they_cancel_out(tmp_path: Path) -> None:
    folder = make_kaldi(tmp_path / "k", TEXTS)
    wav, _ = soundfile.read(folder / "wav" / "ana-0.wav", dtype="float32")
    soundfile.write(folder / "wav" / "ana-0.wav", np.stack([wav, wav], 1), 16_000)
    soundfile.write(folder / "wav" / "ana-1.wav", np.stack([0.9 * wav, -wav], 1), 16_000)
    prepare_corpus("kaldi", folder)
    corpus = load_corpus("kaldi")
    cuts = {cut.id: cut for split in SPLITS for cut in corpus.cuts(split)}
    assert np.array_equal(load_cut(cuts["ana-0"], 16_000), wav)
    with pytest.warns(AudioWarning, match=r"ana-1.wav: its channels nearly cancel out .*channel 2"):
        inverted = load_cut(cuts["ana-1"], 16_000)
    assert inverted == pytest.approx(-wav, abs=1e-4)


def test_lexicon_turns_words_into_phonemes(tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text(
        ";;; comment\nGOOD  G UH1 D\nGOOD(2)  G IH1 D\nday D EY1 # remark\n", "utf-8"
    )
    folder = make_kaldi(tmp_path / "k", dict.fromkeys(TEXTS, "good Day"))
    prepare_corpus("kaldi", folder, lexicon=lexicon)
    supervision = load_corpus("kaldi").cuts("test")[0].supervisions[0]
    assert supervision.custom["phonemes"] == ["G", "UH", "D", "D", "EY"]
    assert supervision.text == "good Day"


def test_words_missing_from_the_lexicon_are_counted(tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("GOOD  G UH1 D\n")
    folder = make_kaldi(tmp_path / "k", {"a-1": "good grief", "a-2": "oh dear", "a-3": "good"})
    with pytest.raises(InputError, match=r"3 words are not in the lexicon: grief, oh, dear"):
        prepare_corpus("kaldi", folder, lexicon=lexicon)


def test_what_cannot_be_a_phoneme_is_noticed(tmp_path: Path) -> None:
    folder = make_kaldi(tmp_path / "k", dict.fromkeys(TEXTS, "a \x1b[31mb"))
    with pytest.raises(
        InputError, match=r"text: found the symbol '\\x1b\[31mb', expected phonemes"
    ):
        prepare_corpus("kaldi", folder)


@pytest.mark.parametrize(
    ("symbols", "is_noted"),
    [
        ("zero one two three four five", True),
        ("yes no stop", True),
        ("AH0 S IY1 B_B SH NG", False),
        ("p a tʃ aɪ", False),
        ("axh bcl pau sh iy k s", False),
        ("1 2 3", False),
    ],
)
def test_a_few_words_without_a_lexicon_are_noted(
    tmp_path: Path, symbols: str, is_noted: bool
) -> None:
    texts = dict.fromkeys(("a-1", "a-2", "a-3"), symbols)
    prepare_corpus("kaldi", make_kaldi(tmp_path / "k", texts))
    noted = any("look like words" in note for note in load_corpus("kaldi").notes)
    assert noted == is_noted


def test_words_without_a_lexicon_are_noticed(tmp_path: Path) -> None:
    folder = make_kaldi(tmp_path / "k", {"a-1": " ".join(f"word{n}" for n in range(300))})
    with pytest.raises(InputError, match=r"300 different symbols.*a lexicon"):
        prepare_corpus("kaldi", folder)


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="names are Unicode there")
def test_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    folder = make_kaldi(tmp_path / "k", TEXTS).rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(ArgumentError, match=r"^source: .* is not UTF-8; expected another one"):
        prepare_corpus("kaldi", folder)
    lexicon = tmp_path / os.fsdecode(b"lexicon\xe9.txt")
    lexicon.write_text("a A")
    with pytest.raises(ArgumentError, match=r"^lexicon: .* is not UTF-8"):
        prepare_corpus("kaldi", folder.rename(tmp_path / "k"), lexicon=lexicon)


def test_lhotse_round_trip(tmp_path: Path) -> None:
    prepare_corpus("kaldi", make_kaldi(tmp_path / "k", TEXTS), as_name="first")
    first = load_corpus("first")
    with pytest.raises(InputError, match=r"jsonl.gz:1: .*neither below .*recordings \(audio\)"):
        prepare_corpus("lhotse", first.folder, as_name="second")
    prepare_corpus("lhotse", first.folder, as_name="second", audio=tmp_path / "k")
    second = load_corpus("second")
    for split in ("train", "dev", "test"):
        assert list(second.cuts(split)) == list(first.cuts(split))


def test_lhotse_single_file_with_an_alignment(tmp_path: Path) -> None:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
    from lhotse.supervision import AlignmentItem

    write_audio(tmp_path / "a.wav", seconds=1.0)
    recording = Recording.from_file(tmp_path / "a.wav", recording_id="a")
    tier = [
        AlignmentItem(symbol, start, 0.2)
        for symbol, start in (("sil", 0.0), ("b", 0.2), ("a", 0.4))
    ]
    supervision = SupervisionSegment(
        "a", "a", 0.0, 1.0, speaker="s", text="ba", gender="female", alignment={"phone": tier}
    )
    cuts = [
        MonoCut(f"a{n}", 0.0, 1.0, 0, recording=recording, supervisions=[supervision])
        for n in range(3)
    ]
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    prepare_corpus("lhotse", tmp_path / "cuts.jsonl.gz")
    found = load_corpus("lhotse").cuts("dev")[0].supervisions[0]
    assert found.custom["phonemes"] == ["b", "a"]
    assert [item.symbol for item in found.alignment["phoneme"]] == ["b", "a"]
    assert found.gender == "F"


@pytest.fixture
def recipe_cuts(tmp_path: Path) -> Path:
    """CutSets as Lhotse's own recipe for LibriSpeech and ``lhotse cut simple`` make them."""
    from lhotse import CutSet
    from lhotse.recipes import prepare_librispeech

    parts = {"train": "train-clean-5", "dev": "dev-clean-2", "test": "test-clean"}
    for number, part in enumerate(parts.values()):
        speaker = str(number + 7000)
        make_librispeech(tmp_path / "in" / "LibriSpeech" / part, [speaker], text="A CALL")
    manifests = prepare_librispeech(
        tmp_path / "in" / "LibriSpeech", dataset_parts=[*parts.values()]
    )
    folder = tmp_path / "in" / "cuts"
    folder.mkdir()
    for split, part in parts.items():
        found = manifests[part]
        cuts = CutSet.from_manifests(found["recordings"], found["supervisions"])
        cuts.to_file(folder / f"cuts_{split}.jsonl.gz")
    return folder


def test_recipes_of_lhotse_give_words_for_a_lexicon(tmp_path: Path, recipe_cuts: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("a AH\na EY\ncall K AO L\n")
    source = recipe_cuts.parent
    prepare_corpus("librispeech", source, lexicon=lexicon)
    prepare_corpus("lhotse", recipe_cuts, lexicon=lexicon, audio=source)
    for split in ("train", "dev", "test"):
        ours, theirs = (load_corpus(name).cuts(split) for name in ("librispeech", "lhotse"))
        assert len(ours) == 2
        for cut in ours:
            # Lhotse numbers the cuts; its supervisions have the names of the utterances.
            other = next(c for c in theirs if c.supervisions[0].id == cut.id).supervisions[0]
            assert other.custom == cut.supervisions[0].custom
            assert (other.speaker, other.text) == (cut.supervisions[0].speaker, "A CALL")
    assert load_corpus("lhotse").phonemes == ("AH", "AO", "EY", "K", "L")


def test_lhotse_with_unknown_words_and_without_words(tmp_path: Path, recipe_cuts: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("a AH\n")
    options: dict[str, Any] = {"lexicon": lexicon, "audio": recipe_cuts.parent}
    with pytest.raises(InputError, match=r"1 words are not in the lexicon: call .*gz:1: cut '"):
        prepare_corpus("lhotse", recipe_cuts, **options)
    for split in ("train", "dev", "test"):
        file = recipe_cuts / f"cuts_{split}.jsonl.gz"
        text = gzip.decompress(file.read_bytes()).decode().replace("A CALL", "A", 1)
        if split == "train":
            other = text.splitlines()[0]
            text += other.replace("7000-7-0000", "7000-7-0002").replace(
                '"text": "A"', '"text": "-"'
            )
        file.write_bytes(gzip.compress((text + "\n").encode()))
    prepare_corpus("lhotse", recipe_cuts, unknown_words="skip", **options)
    corpus = load_corpus("lhotse")
    assert [len(corpus.cuts(split)) for split in ("train", "dev", "test")] == [1, 1, 1]
    left_out, empty, unknown = sorted(corpus.notes)
    assert left_out.startswith("utterances with words that are not in the lexicon, left out: 3")
    assert empty.startswith("utterances without words, left out: 1")
    assert unknown == "words that are not in the lexicon: 1 (first: call)"


def test_a_lexicon_leaves_phonemes_of_cuts_as_they_are(tmp_path: Path) -> None:
    prepare_corpus("kaldi", make_kaldi(tmp_path / "k", TEXTS), as_name="first")
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("b x\n")
    first = load_corpus("first")
    prepare_corpus("lhotse", first.folder, audio=tmp_path / "k", lexicon=lexicon)
    assert list(load_corpus("lhotse").cuts("train")) == list(first.cuts("train"))


def test_lhotse_without_speakers_has_one_unlabelled_one(tmp_path: Path) -> None:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    write_audio(tmp_path / "a.wav", seconds=1.0)
    recording = Recording.from_file(tmp_path / "a.wav", recording_id="a")

    def cut(number: int, speaker: str | None) -> MonoCut:
        supervision = SupervisionSegment("a", "a", 0.0, 1.0, text="b a", speaker=speaker)
        return MonoCut(f"a{number}", 0.0, 1.0, 0, recording=recording, supervisions=[supervision])

    CutSet.from_cuts([cut(n, None) for n in range(3)]).to_file(tmp_path / "none.jsonl.gz")
    prepare_corpus("lhotse", tmp_path / "none.jsonl.gz", as_name="nobody")
    assert load_corpus("nobody").speakers == (UNLABELLED,)
    some = [cut(0, "ann"), cut(1, None), cut(2, "ann")]
    CutSet.from_cuts(some).to_file(tmp_path / "some.jsonl.gz")
    with pytest.raises(InputError, match="cut 'a1' has no speaker, unlike other cuts"):
        prepare_corpus("lhotse", tmp_path / "some.jsonl.gz", as_name="some")


@pytest.mark.parametrize("kind", ["command", "url"])
def test_lhotse_sources_that_are_no_files_are_not_run(tmp_path: Path, kind: str) -> None:
    prepare_corpus("kaldi", make_kaldi(tmp_path / "k", {f"ana-{i}": "b a" for i in range(3)}))
    corpus = load_corpus("kaldi")
    made = tmp_path / "made by a command"
    for split in ("train", "dev", "test"):
        file = corpus.folder / f"cuts_{split}.jsonl.gz"
        cuts = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
        for cut in cuts:
            cut["recording"]["sources"] = [
                {"type": kind, "channels": [0], "source": f"touch '{made}'"}
            ]
        lines = "".join(json.dumps(cut) + "\n" for cut in cuts)
        file.write_bytes(gzip.compress(lines.encode()))
    with pytest.raises(InputError, match=f"found type '{kind}'"):
        prepare_corpus("lhotse", corpus.folder)
    with pytest.raises(InputError, match=f"found type '{kind}'"):
        corpus.cuts("train")
    assert not made.exists()


def test_lhotse_without_phonemes_and_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected cuts_train.jsonl.gz or cuts_train.jsonl"):
        prepare_corpus("lhotse", make_kaldi(tmp_path / "k", TEXTS))
    (tmp_path / "bad.jsonl").write_text("{nonsense\n")
    with pytest.raises(InputError, match=r"bad\.jsonl:1: not valid JSON"):
        prepare_corpus("lhotse", tmp_path / "bad.jsonl")


SPELLINGS = ("t͡ʃ ɡ a\u0303 aː", "t͜ʃ g \u00e3 aː", "ʧ ɡ ã aː")


def test_spellings_of_a_phoneme_are_one_phoneme(tmp_path: Path) -> None:
    texts = {f"ana-{number}": SPELLINGS[number % 3] for number in range(9)}
    prepare_corpus("kaldi", make_kaldi(tmp_path / "k", texts), as_name="spelled")
    corpus = load_corpus("spelled")
    assert corpus.phonemes == ("aː", "g", "tʃ", "ã")
    words = {f"ana-{number}": f"word{number % 3}" for number in range(9)}
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("".join(f"word{n} {text}\n" for n, text in enumerate(SPELLINGS)), "utf-8")
    prepare_corpus("kaldi", make_kaldi(tmp_path / "w", words), lexicon=lexicon, as_name="words")
    assert load_corpus("words").phonemes == corpus.phonemes


def test_spellings_in_lhotse_manifests(tmp_path: Path) -> None:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
    from lhotse.supervision import AlignmentItem

    write_audio(tmp_path / "a.wav", seconds=1.0)
    recording = Recording.from_file(tmp_path / "a.wav", recording_id="a")

    def cut(number: int, **labels: Any) -> MonoCut:
        supervision = SupervisionSegment("a", "a", 0.0, 1.0, speaker="s", **labels)
        return MonoCut(f"a{number}", 0.0, 1.0, 0, recording=recording, supervisions=[supervision])

    tier = [AlignmentItem(p, n / 10, 0.1) for n, p in enumerate(("SIL", *SPELLINGS[2].split()))]
    labels = [
        {"text": SPELLINGS[0]},
        {"custom": {"phonemes": SPELLINGS[1].split()}},
        {"alignment": {"phoneme": tier}, "text": "words"},
    ]
    cuts = [cut(number, **label) for number, label in enumerate(labels)]
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    prepare_corpus("lhotse", tmp_path / "cuts.jsonl.gz", as_name="spelled")
    corpus = load_corpus("spelled")
    assert corpus.phonemes == ("aː", "g", "tʃ", "ã")
    found = {
        cut.id: cut.supervisions[0] for s in ("train", "dev", "test") for cut in corpus.cuts(s)
    }
    symbols = [item.symbol for item in found["a2"].alignment["phoneme"]]
    assert symbols == found["a2"].custom["phonemes"] == ["tʃ", "g", "ã", "aː"]
