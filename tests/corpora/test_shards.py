"""Shards: the training split in a few files, read again as it was written."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import tiny
from lhotse import CutSet

from phoneme_moe.corpora import PreparedCorpus, load_corpus, prepare_corpus
from phoneme_moe.corpora.cut_audio import load_cut
from phoneme_moe.corpora.shards import Shard, find_shards, shards_folder, write_shards
from phoneme_moe.errors import ArgumentError, InputError

if TYPE_CHECKING:
    from conftest import Outcome


@pytest.fixture(scope="module")
def sharded(tones: PreparedCorpus) -> list[Shard]:
    write_shards(tones, 3)
    return find_shards(tones)


@pytest.fixture
def copied(tones: PreparedCorpus, sharded: list[Shard], tmp_path: Path) -> PreparedCorpus:
    """A corpus whose shards may be damaged."""
    folder = tmp_path / "damaged"
    shutil.copytree(tones.folder, folder)
    return dataclasses.replace(tones, folder=folder)


def test_shards_have_every_utterance_once_with_its_audio_and_labels(
    tones: PreparedCorpus, sharded: list[Shard]
) -> None:
    expected = {cut.id: cut for cut in tones.iter_cuts("train")}
    found = [cut for shard in sharded for cut in shard.read()]
    assert sorted(cut.id for cut in found) == sorted(expected)
    for cut in found:
        original = expected[cut.id]
        supervision, its = cut.supervisions[0], original.supervisions[0]
        assert (supervision.speaker, supervision.custom) == (its.speaker, its.custom)
        assert supervision.alignment == its.alignment
        assert np.array_equal(load_cut(cut, tiny.RATE), load_cut(original, tiny.RATE))
    # In random order, which is not that of the manifest.
    places = [list(expected).index(cut.id) for cut in sharded[0].read(with_audio=False)]
    assert abs(np.corrcoef(places, range(len(places)))[0, 1]) < 0.5
    sizes = [sum(1 for _ in shard.read(with_audio=False)) for shard in sharded]
    assert max(sizes) - min(sizes) <= 1


def test_every_shard_has_all_speakers(sharded: list[Shard]) -> None:
    for shard in sharded:
        assert {cut.supervisions[0].speaker for cut in shard.read(False)} == set(tiny.SPEAKERS)


def test_lhotse_reads_them_alike(tones: PreparedCorpus, sharded: list[Shard]) -> None:
    read_by_lhotse = CutSet.from_shar(in_dir=shards_folder(tones) / "train")
    ours = [cut for shard in sharded for cut in shard.read()]
    for cut, other in zip(ours, read_by_lhotse, strict=True):
        assert cut.id == other.id
        assert (cut.duration, cut.num_samples) == (other.duration, other.num_samples)
        assert np.array_equal(load_cut(cut, tiny.RATE), other.load_audio()[0])


def test_a_part_of_a_recording_becomes_one_and_channels_are_kept_apart(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    samples = (random.uniform(-1, 1, (8000, 2)) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "two.wav", samples, tiny.RATE)
    recording = {
        "id": "two",
        "sampling_rate": tiny.RATE,
        "num_samples": 8000,
        "duration": 1.0,
        "channel_ids": [0, 1],
        "sources": [{"type": "file", "channels": [0, 1], "source": "two.wav"}],
    }
    lines = []
    for number in range(12):
        supervision = {"id": f"u{number}", "recording_id": "two", "start": 0.0, "duration": 0.25}
        supervision |= {"channel": number % 2, "speaker": "ann", "custom": {"phonemes": ["a"]}}
        cut = {"id": f"u/{number}.x", "start": 0.05 * number, "duration": 0.25, "type": "MonoCut"}
        cut |= {"channel": number % 2, "supervisions": [supervision], "recording": recording}
        lines.append(json.dumps(cut))
    (tmp_path / "cuts.jsonl").write_text("\n".join(lines))
    prepare_corpus("lhotse", tmp_path / "cuts.jsonl", as_name="two-channels", audio=tmp_path)
    corpus = load_corpus("two-channels")
    write_shards(corpus, 2)
    originals = {cut.id: cut for cut in corpus.iter_cuts("train")}
    found = [cut for shard in find_shards(corpus) for cut in shard.read()]
    assert len(found) == len(originals) == 10
    for cut in found:
        original = originals[cut.id]
        first = round(original.start * tiny.RATE)
        expected = samples[first : first + 2000, original.channel] / 32768
        assert np.array_equal(load_cut(cut, tiny.RATE), expected.astype(np.float32))


def test_joined_corpora_have_the_shards_of_each_with_their_names(
    tones: PreparedCorpus,
    sharded: list[Shard],
    foreign: PreparedCorpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tones.folder.parent))
    joined = load_corpus(f"{tones.name}+{foreign.name}")
    with pytest.raises(InputError, match=f"corpus '{foreign.name}' has no shards: .*corpora shard"):
        find_shards(joined)
    write_shards(foreign, 2)
    shards = find_shards(joined)
    assert len(shards) == 5
    expected = {(cut.id, cut.supervisions[0].speaker) for cut in joined.iter_cuts("train")}
    found = [(c.id, c.supervisions[0].speaker) for shard in shards for c in shard.read(False)]
    assert sorted(found) == sorted(expected)


def test_another_preparation_needs_other_shards(copied: PreparedCorpus) -> None:
    manifest = copied.folder / "cuts_train.jsonl.gz"
    with gzip.open(manifest) as file:
        lines = file.read().splitlines()
    with gzip.open(manifest, "wb") as file:
        file.write(b"\n".join(lines[1:]))
    with pytest.raises(InputError, match=r"shards\.json: corpus .* was prepared again since; run"):
        find_shards(copied)


@pytest.mark.parametrize("name", ["recording.000001.tar", "cuts.000001.jsonl.gz"])
def test_a_missing_shard_is_named(copied: PreparedCorpus, name: str) -> None:
    (shards_folder(copied) / "train" / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such file; run: phoneme-moe corpora shard"):
        find_shards(copied)


def test_damaged_shards_are_named(copied: PreparedCorpus) -> None:
    shard = find_shards(copied)[1]
    archive, manifest = shard.audio_file.read_bytes(), shard.cuts_file.read_bytes()
    shard.audio_file.write_bytes(archive[: len(archive) // 2 + 100])
    with pytest.raises(InputError, match=r"recording\.000001\.tar: cannot be read"):
        list(shard.read())
    shard.audio_file.write_bytes(b"no archive" * 1000)
    with pytest.raises(InputError, match=r"recording\.000001\.tar: cannot be read"):
        list(shard.read())
    shard.audio_file.write_bytes(archive)
    shard.cuts_file.write_bytes(manifest[: len(manifest) // 2])
    with pytest.raises(InputError, match=r"cuts\.000001\.jsonl\.gz"):
        list(shard.read())


def test_files_of_different_shards_do_not_fit(copied: PreparedCorpus) -> None:
    first, second, _ = find_shards(copied)
    shutil.copy(first.audio_file, second.audio_file)
    with pytest.raises(InputError, match=r"recording\.000001\.tar: found '.*', expected audio of"):
        list(second.read())


def test_an_archive_is_only_read_as_audio(copied: PreparedCorpus) -> None:
    shard = find_shards(copied)[0]
    (identifier, *_) = [cut.id for cut in shard.read()]
    with tarfile.open(shard.audio_file, "w") as archive:
        link = tarfile.TarInfo(f"{identifier}.flac")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InputError, match="expected a file of at most"):
        list(shard.read())


def test_a_manifest_cannot_name_other_sources(copied: PreparedCorpus) -> None:
    shard = find_shards(copied)[0]
    with gzip.open(shard.cuts_file, "rt") as file:
        cut = json.loads(file.readline())
    for kind, source in (("command", "touch x"), ("file", "/etc/passwd"), ("shar", "x")):
        cut["recording"]["sources"][0] |= {"type": kind, "source": source}
        with gzip.open(shard.cuts_file, "wt") as file:
            file.write(json.dumps(cut))
        with pytest.raises(InputError, match="source"):
            list(shard.read())


def test_shards_are_written_whole_or_not_at_all(
    copied: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(shards_folder(copied).rglob("*"))

    def fail(cut: object, rate: int) -> None:
        raise InputError("damaged.wav: not readable as audio")

    monkeypatch.setattr("phoneme_moe.corpora.shards.load_cut", fail)
    with pytest.raises(InputError, match=r"damaged\.wav"):
        write_shards(copied, 2)
    assert sorted(shards_folder(copied).rglob("*")) == before
    assert [path for path in copied.folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("number", [-1, 0, 97])
def test_the_number_of_shards_is_checked(tones: PreparedCorpus, number: int) -> None:
    with pytest.raises(ArgumentError, match="expected 1 to 96"):
        write_shards(tones, number)


def test_the_command_says_what_it_wrote(
    phoneme_moe: Callable[..., Outcome],
    tones: PreparedCorpus,
    sharded: list[Shard],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tones.folder.parent))
    outcome = phoneme_moe("corpora", "shard", tones.name, "--shards", "3")
    folder = shards_folder(tones)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{tones.name}: 3 shards, 0.00 GB, in {folder}")
    refused = phoneme_moe("corpora", "shard", tones.name, "--shards", "0")
    assert refused.code == 1
    assert refused.err.startswith("phoneme-moe: --shards: found 0, expected 1 to 96")
    several = phoneme_moe("corpora", "shard", f"{tones.name}+an4", "--shards", "2")
    assert "found several corpora, expected one" in several.err
