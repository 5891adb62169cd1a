"""Unknown words of corpora in every layout (``test_folder`` has ``folder`` and ``kaldi``)."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from phoneme_moe.corpora import load_corpus, prepare_corpus
from phoneme_moe.corpora.unknown_words import find_unknown_words

from .layouts import make_an4, make_commonvoice, make_kaldi, make_librispeech


def make_lhotse(folder: Path) -> Path:
    """A manifest of six cuts with words and without phonemes."""
    lexicon = folder / "lexicon.txt"
    source = make_kaldi(folder, {f"a-{number}": "good call" for number in range(6)})
    lexicon.write_text("good G UH D\ncall K AO L\n")
    prepare_corpus("kaldi", source, lexicon=lexicon)
    files = sorted(load_corpus("kaldi").folder.glob("cuts_*.gz"))
    lines = b"".join(gzip.decompress(file.read_bytes()) for file in files)
    manifest = folder / "cuts.jsonl"
    manifest.write_bytes(lines.replace(b'"phonemes"', b'"other"'))
    return manifest


@pytest.mark.parametrize(
    ("layout", "unknown", "num_words"),
    [
        ("librispeech", {"we": 4, "call": 4}, 8),
        ("an4", {"a": 4, "one": 4}, 8),
        ("commonvoice", {"we": 6, "ca'll": 3, "call": 3}, 12),
        ("lhotse", {"call": 6}, 12),
    ],
    ids=["librispeech", "an4", "commonvoice", "lhotse"],
)
def test_words_are_counted(
    tmp_path: Path, layout: str, unknown: dict[str, int], num_words: int
) -> None:
    source = tmp_path / layout
    if layout == "librispeech":
        make_librispeech(source / "train-clean-5", ["7001", "7002"])
    elif layout == "an4":
        make_an4(source, ["fash"], ["marh"])
    elif layout == "commonvoice":
        make_commonvoice(source, {"train": ["a"], "dev": ["b"], "test": ["c"]})
    else:
        source = make_lhotse(source)
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("good G UH D\n")
    found = find_unknown_words(source, lexicon)
    assert {word.word: word.count for word in found.words} == unknown
    assert found.num_words == num_words
