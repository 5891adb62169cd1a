"""Divisions of speakers: nobody is in two splits, and nothing but names and sexes decides."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.corpora.splits import rank, rank_speakers, split_by_speaker
from phoneme_moe.errors import InputError

NAMES = st.text("abcxyz123", min_size=1, max_size=4)
SEXES = st.dictionaries(NAMES, st.sampled_from(["M", "F", None]), max_size=40)


def cuts_of(sexes: dict[str, str | None]) -> list[Any]:
    """Two utterances of each speaker."""
    return [
        SimpleNamespace(
            id=f"{name}-{number}", supervisions=[SimpleNamespace(speaker=name, gender=sex)]
        )
        for number in range(2)
        for name, sex in sexes.items()
    ]


@given(SEXES)
def test_sexes_take_turns(sexes: dict[str, str | None]) -> None:
    ranked = rank_speakers(sexes)
    assert sorted(ranked) == sorted(sexes)
    assert ranked == rank_speakers(dict(reversed(sexes.items())))
    for sex in ("M", "F", None):
        its = [name for name in ranked if sexes[name] == sex]
        assert its == sorted(its, key=rank)
    both = min(list(sexes.values()).count(sex) for sex in ("M", "F"))
    if None not in sexes.values():
        assert {sexes[name] for name in ranked[: 2 * both]} <= {"M", "F"}
        firsts = [sexes[name] for name in ranked[: 2 * both]]
        assert firsts.count("M") == firsts.count("F") == both


@given(SEXES, st.data())
def test_every_speaker_is_in_one_split(sexes: dict[str, str | None], data: st.DataObject) -> None:
    splits = st.sampled_from(["train", "train", "train", "dev", "test"])
    published = {name: data.draw(splits) for name in sexes}
    cuts = cuts_of(sexes)
    try:
        divided = split_by_speaker(cuts, published, 4, Path("source"))
    except InputError:
        assert len(sexes) < 3 or list(published.values()).count("train") < 3
        return
    speakers = {
        split: {cut.supervisions[0].speaker for cut in its} for split, its in divided.items()
    }
    assert all(speakers.values())
    assert sorted(cut.id for its in divided.values() for cut in its) == sorted(c.id for c in cuts)
    assert sum(map(len, speakers.values())) == len(sexes)
    if len(set(published.values())) > 1:
        for name, split in published.items():
            assert split == "train" or name in speakers[split]
    again = split_by_speaker(list(reversed(cuts)), published, 4, Path("source"))
    assert {
        split: {cut.supervisions[0].speaker for cut in its} for split, its in again.items()
    } == speakers


def test_too_few_speakers() -> None:
    cuts = cuts_of({"a": "F", "b": "M"})
    published = {"a": "train", "b": "train"}
    message = r"^source: found utterances of 2 speakers for training, expected at least 3, since"
    with pytest.raises(InputError, match=message):
        split_by_speaker(cuts, published, 4, Path("source"))
