"""Corpus ``lhotse``: any Lhotse CutSet whose supervisions have phonemes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.corpora.prepared import UNLABELLED, require_file_sources
from phoneme_moe.errors import InputError
from phoneme_moe.notation.normal_form import (
    NORMAL_FORM,
    is_silence,
    normalize_phoneme,
    split_phonemes,
)

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from phoneme_moe.corpora.manifest import Splits
    from phoneme_moe.corpora.registry import Preparation

_TIERS = ("phoneme", "phone")
_SPLITS = ("train", "dev", "test")


def settings(job: Preparation) -> dict[str, Any]:
    """Fingerprint of the manifests, which determines the corpus."""
    from phoneme_moe.corpora.manifest import fingerprint

    return {
        "manifests": fingerprint(_manifests(job.source).values()),
        "normal_form": NORMAL_FORM,
    }


def prepare(job: Preparation) -> Splits:
    """Prepares three manifests as splits, or one, which is split 80/10/10 within each speaker.

    Raises:
        InputError: A manifest cannot be read, or a cut has no speaker or no phonemes.
    """
    from phoneme_moe.corpora.splits import split_within_speakers

    manifests = _manifests(job.source)
    splits = {split: _read(manifest, job.progress) for split, manifest in manifests.items()}
    return split_within_speakers(splits["all"]) if "all" in splits else splits


def _manifests(source: Path | None) -> dict[str, Path]:
    """Manifest of each split; the key is ``"all"`` for a single file."""
    from phoneme_moe.corpora.tables import contents_of

    assert source is not None
    if source.is_file():
        return {"all": source}
    manifests = {}
    for split in _SPLITS:
        names = (f"cuts_{split}.jsonl.gz", f"cuts_{split}.jsonl")
        there = [source / name for name in names if (source / name).is_file()]
        if not there:
            raise InputError(
                f"{source}: expected {names[0]} or {names[1]}, found {contents_of(source)}"
            )
        manifests[split] = there[0]
    return manifests


def _read(manifest: Path, progress: bool) -> list[Cut]:
    from lhotse import CutSet
    from lhotse.serialization import load_jsonl

    from phoneme_moe.corpora.lexicon import refuse_words
    from phoneme_moe.progress import track

    try:
        cuts = list(CutSet.from_dicts(load_jsonl(manifest)))
    except Exception as error:  # gzip, JSON and Lhotse raise different exceptions
        raise InputError(f"{manifest}: cannot be read as Lhotse cuts ({error})") from error
    cuts = [_normalise(cut, manifest) for cut in track(_named(cuts), "Loading cuts", progress)]
    refuse_words((tuple(cut.supervisions[0].custom["phonemes"]) for cut in cuts), manifest)
    return cuts


def _named(cuts: list[Cut]) -> list[Cut]:
    """Names the speaker of all cuts ``UNLABELLED`` if none of them has a speaker."""
    from lhotse.utils import fastcopy

    if any(s.speaker for cut in cuts for s in cut.supervisions):
        return cuts
    return [
        fastcopy(cut, supervisions=[fastcopy(s, speaker=UNLABELLED) for s in cut.supervisions])
        for cut in cuts
    ]


def _normalise(cut: Cut, manifest: Path) -> Cut:
    """Stores the phonemes of a cut in ``custom["phonemes"]`` and ``alignment["phoneme"]``."""
    from lhotse.utils import fastcopy

    where = f"{manifest}: cut {cut.id!r}"
    if len(cut.supervisions) != 1:
        raise InputError(f"{where} has {len(cut.supervisions)} supervisions, expected 1")
    if type(cut).__name__ != "MonoCut" or not cut.has_recording:
        raise InputError(f"{where} is not a MonoCut with a recording")
    require_file_sources(cut, where)
    supervision = cut.supervisions[0]
    if not supervision.speaker:
        raise InputError(f"{where} has no speaker, unlike other cuts")
    tiers = supervision.alignment or {}
    tier = next((tiers[name] for name in _TIERS if tiers.get(name)), None)
    items = None if tier is None else _spoken(tier)
    custom = dict(supervision.custom or {})
    if custom.get("phonemes"):
        phonemes = [normalize_phoneme(phoneme) for phoneme in custom["phonemes"]]
    elif items:
        phonemes = [item.symbol for item in items]
    else:
        phonemes = list(split_phonemes(supervision.text or ""))
    if not phonemes:
        raise InputError(
            f"{where} has no phonemes: looked for custom['phonemes'], an alignment named "
            "'phoneme' or 'phone', and a text of phonemes"
        )
    # An alignment with different phonemes would contradict the reference.
    matches = items is not None and [item.symbol for item in items] == phonemes
    return fastcopy(
        cut,
        recording=_with_absolute_paths(cut.recording, manifest.parent),
        supervisions=[
            fastcopy(
                supervision,
                gender=_sex(supervision.gender),
                custom={**custom, "phonemes": phonemes},
                alignment={"phoneme": items} if matches else None,
            )
        ],
    )


def _spoken(tier: list[Any]) -> list[Any]:
    """The items of an alignment that are phonemes, in their normal form."""
    return [
        item._replace(symbol=normalize_phoneme(item.symbol))
        for item in tier
        if not is_silence(item.symbol)
    ]


def _with_absolute_paths(recording: Any, folder: Path) -> Any:
    """Resolves relative paths against the manifest's folder, else the current folder."""
    path = Path(recording.sources[0].source) if recording.sources[0].type == "file" else None
    if path is None or path.is_absolute():
        return recording
    base = folder if (folder / path).is_file() else Path.cwd()
    return recording.with_path_prefix(base.resolve())


def _sex(gender: str | None) -> str | None:
    first = (gender or "")[:1].upper()
    return first if first in {"M", "F"} else None
