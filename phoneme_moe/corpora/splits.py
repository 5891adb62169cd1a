"""Reproducible splitting and subsampling of utterances by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lhotse.cut import Cut


def rank(name: str) -> str:
    """Sort key for a reproducible pseudo-random order of names."""
    return hashlib.sha256(name.encode()).hexdigest()


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
