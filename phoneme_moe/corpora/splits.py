"""Reproducible splitting and subsampling of speakers and utterances by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from phoneme_moe.corpora.prepared import SPLITS
from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from lhotse.cut import Cut


def rank(name: str) -> str:
    """Sort key for a reproducible pseudo-random order of names."""
    return hashlib.sha256(name.encode()).hexdigest()


def rank_speakers(sexes: Mapping[str, str | None]) -> list[str]:
    """Speakers in a reproducible pseudo-random order, women and men in turns.

    Args:
        sexes: Sex of each speaker, None if it is unknown.
    """
    ranked: dict[str | None, list[str]] = {}
    for speaker in sorted(sexes, key=rank):
        ranked.setdefault(sexes[speaker], []).append(speaker)
    turns = zip_longest(*(ranked[sex] for sex in sorted(ranked, key=str)))
    return [speaker for speaker in chain.from_iterable(turns) if speaker is not None]


def split_by_speaker(
    cuts: Iterable[Cut], published: Mapping[str, str], num_speakers: int, source: Path | None
) -> dict[str, list[Cut]]:
    """Splits utterances by speaker; every speaker is in one split.

    If dev or test has nobody, speakers of train take their place (at least one, at most a sixth of
    them): the first ones of ``rank_speakers``. If only one split has anybody, it counts as train.

    Args:
        cuts: The utterances.
        published: Split of each speaker.
        num_speakers: Most speakers to choose for a split.
        source: The user's data, for error messages.

    Raises:
        InputError: There are too few speakers for three splits.
    """
    speakers: dict[str, list[Cut]] = {}
    for cut in cuts:
        speakers.setdefault(cut.supervisions[0].speaker, []).append(cut)
    names = {split: [s for s in speakers if published[s] == split] for split in SPLITS}
    if sum(map(bool, names.values())) == 1:
        names = {"train": list(speakers), "dev": [], "test": []}
    sexes = {s: speakers[s][0].supervisions[0].gender for s in names["train"]}
    ranked = rank_speakers(sexes)
    needed = 1 + sum(not names[split] for split in ("dev", "test"))
    if len(ranked) < needed:
        raise InputError(
            f"{source}: found utterances of {len(ranked)} speakers for training, expected at least "
            f"{needed}, since splits share nobody"
        )
    number = max(1, min(num_speakers, len(ranked) // 6))
    for split in ("dev", "test"):
        if not names[split]:
            names[split], ranked = ranked[:number], ranked[number:]
    names["train"] = [s for s in names["train"] if s in set(ranked)]
    return {split: [cut for s in its for cut in speakers[s]] for split, its in names.items()}


def split_within_speakers(cuts: Iterable[Cut]) -> dict[str, list[Cut]]:
    """Splits the utterances of every speaker 80/10/10 by a hash of the utterance id.

    Speakers with fewer than three utterances are only in train.
    """
    speakers: dict[str, list[Cut]] = {}
    for cut in cuts:
        speakers.setdefault(cut.supervisions[0].speaker, []).append(cut)
    splits: dict[str, list[Cut]] = {"train": [], "dev": [], "test": []}
    for its_cuts in speakers.values():
        ranked = sorted(its_cuts, key=lambda cut: rank(cut.id))
        tenth = max(1, round(len(ranked) / 10)) if len(ranked) >= 3 else 0
        splits["dev"] += ranked[:tenth]
        splits["test"] += ranked[tenth : 2 * tenth]
        splits["train"] += ranked[2 * tenth :]
    return splits


def limit_utterances(cuts: Iterable[Cut], most: int) -> list[Cut]:
    """Limits the cuts of each speaker to ``most``, in their original order.

    Cuts are selected by a hash of the utterance id, since the first ones may all be of one word.
    """
    cuts = list(cuts)
    counts: dict[str, int] = {}
    kept = set()
    for cut in sorted(cuts, key=lambda cut: rank(cut.id)):
        speaker = cut.supervisions[0].speaker
        counts[speaker] = counts.get(speaker, 0) + 1
        if counts[speaker] <= most:
            kept.add(cut.id)
    return [cut for cut in cuts if cut.id in kept]
