"""Several prepared corpora as one: ``speechocean762+librispeech``.

Names tell apart what the corpora may share: utterances become ``CORPUS/UTTERANCE``, speakers
``PUBLISHER/SPEAKER``. Two corpora prepared from the same publication (two parts of LibriSpeech)
have the same publisher, so that a speaker of both is one speaker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phoneme_moe.corpora.prepared import SPLITS, PreparedCorpus
from phoneme_moe.corpora.registry import CORPORA
from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from lhotse.cut import Cut

PLUS = "+"
"""Separates the names of joined corpora; names of prepared corpora do not contain it."""

FEWEST_SHARED = 0.5
"""Share of the smaller phoneme set of two corpora that must be in both of them."""


@dataclass(frozen=True)
class JoinedCorpus(PreparedCorpus):
    """Prepared corpora, one after another.

    Attributes:
        parts: The corpora.
    """

    parts: tuple[PreparedCorpus, ...]

    @property
    def notes(self) -> list[str]:
        """What the preparations left out or changed, each with the name of the corpus."""
        return [f"{part.name}: {note}" for part in self.parts for note in part.notes]

    def iter_cuts(self, split: str, checked: bool = True) -> Iterator[Cut]:
        """The utterances of a split of every corpus, in the order of the corpora.

        Arguments and errors as of ``PreparedCorpus.iter_cuts``.
        """
        for part in self.parts:
            for cut in part.iter_cuts(split, checked):
                yield renamed(part, cut)

    def corpus_of(self, utterance: str) -> str:
        """The name of the corpus of an utterance."""
        return utterance.partition("/")[0]

    def require_separate_speakers(self) -> None:
        """Checks that nobody is in training and in dev or test.

        A speaker may have utterances in several splits of one corpus, as people do who are known to
        a speaker-dependent system; across corpora that is never intended.

        Raises:
            InputError: A speaker is in the training of one corpus and in dev or test of another.
        """
        trained: dict[str, list[str]] = {}
        for part in self.parts:
            for name in _speakers(part, "train"):
                trained.setdefault(name, []).append(part.name)
        for part in self.parts:
            for split in ("dev", "test"):
                for name in _speakers(part, split):
                    elsewhere = [other for other in trained.get(name, ()) if other != part.name]
                    if elsewhere:
                        raise InputError(
                            f"corpus.names: speaker {name!r} is in train of {elsewhere[0]} and in "
                            f"{split} of {part.name}; expected every speaker in one split only"
                        )


def join_corpora(parts: tuple[PreparedCorpus, ...]) -> JoinedCorpus:
    """Joins prepared corpora.

    Args:
        parts: At least two corpora with different names.

    Raises:
        InputError: The phoneme sets of two corpora do not fit.
    """
    first = parts[0]
    for part in parts[1:]:
        shared = set(first.phonemes) & set(part.phonemes)
        if len(shared) < FEWEST_SHARED * min(len(first.phonemes), len(part.phonemes)):
            raise InputError(
                f"corpus.names: {part.name} has the phonemes {_some(part)}, {first.name} has "
                f"{_some(first)}: found {len(shared)} in both; expected the same notation"
            )
    speakers: dict[str, Any] = {}
    for part in parts:
        for name, sex in part.description["speakers"].items():
            joined = joined_speaker(part, name)
            speakers[joined] = speakers.get(joined) or sex
    phonemes = sorted({phoneme for part in parts for phoneme in part.phonemes})
    counts = [part.description["splits"] for part in parts]
    return JoinedCorpus(
        name=PLUS.join(part.name for part in parts),
        folder=first.folder.parent,
        phonemes=tuple(phonemes),
        speakers=tuple(sorted(speakers)),
        description={
            "splits": {split: _sum([c[split] for c in counts]) for split in SPLITS},
            "phonemes": phonemes,
            "speakers": {name: speakers[name] for name in sorted(speakers)},
        },
        parts=parts,
    )


def _speakers(part: PreparedCorpus, split: str) -> list[str]:
    """The speakers of a split, sorted."""
    cuts = part.iter_cuts(split, checked=False)
    return sorted({joined_speaker(part, cut.supervisions[0].speaker) for cut in cuts})


def joined_speaker(part: PreparedCorpus, name: str) -> str:
    """The name of a speaker of one corpus among those of several.

    Args:
        part: The corpus.
        name: The speaker's name in it.
    """
    kind = part.description["settings"].get("corpus")
    source = CORPORA.get(str(kind))
    # Names in recordings of users say nothing about other recordings.
    publisher = part.name if source is None or not source.published else source.name
    return f"{publisher}/{name}"


def renamed(part: PreparedCorpus, cut: Any) -> Any:
    """A cut of one corpus, with the names that it has among several."""
    from lhotse.utils import fastcopy

    supervision = cut.supervisions[0]
    renamed = fastcopy(supervision, speaker=joined_speaker(part, supervision.speaker))
    return fastcopy(cut, id=f"{part.name}/{cut.id}", supervisions=[renamed])


def _sum(counts: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: sum(count[key] for count in counts) for key in counts[0]}


def _some(part: PreparedCorpus) -> str:
    return ", ".join(part.phonemes[:5]) + (" ..." if len(part.phonemes) > 5 else "")
