"""Corpus ``lhotse``: any Lhotse CutSet whose supervisions have phonemes."""

from __future__ import annotations

import functools
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.corpora.prepared import UNLABELLED
from phoneme_moe.corpora.words import is_symbol
from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import shorten
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
        InputError: A manifest cannot be read, a cut has no speaker or no phonemes, or a recording
            is outside of the allowed folders.
    """
    from phoneme_moe.corpora.splits import split_within_speakers

    manifests = _manifests(job.source)
    splits = {split: _read(manifest, job) for split, manifest in manifests.items()}
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


def _read(manifest: Path, job: Preparation) -> list[Cut]:
    from phoneme_moe.corpora.cut_document import read_cuts
    from phoneme_moe.corpora.lexicon import refuse_words
    from phoneme_moe.system.progress import track

    folder = manifest.parent
    allowed = {path.resolve() for path in (folder, Path.cwd(), job.audio) if path is not None}
    read = []
    for document, where in track(read_cuts(manifest), "Reading cuts", job.progress):
        audio_folder = _audio_folder(document.source, folder)
        _check_allowed(audio_folder / document.source, allowed, where)
        read.append((document.to_cut(audio_folder), where))
    has_speakers = any(cut.supervisions[0].speaker for cut, _ in read)
    cuts = [_normalise(cut, where, has_speakers) for cut, where in read]
    refuse_words((tuple(cut.supervisions[0].custom["phonemes"]) for cut in cuts), manifest)
    return cuts


def _normalise(cut: Cut, where: str, has_speakers: bool) -> Cut:
    """Stores the phonemes of a cut in ``custom["phonemes"]`` and ``alignment["phoneme"]``.

    Args:
        cut: A cut with one supervision.
        where: The cut, for error messages.
        has_speakers: Whether any cut has a speaker; otherwise all are ``UNLABELLED``.
    """
    from lhotse.utils import fastcopy

    supervision = cut.supervisions[0]
    if not supervision.speaker and has_speakers:
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
    for phoneme in phonemes:
        if not is_symbol(phoneme):
            raise InputError(f"{where}: found {phoneme[:40]!r}, which is not a phoneme")
    # An alignment with different phonemes would contradict the reference.
    matches = items is not None and [item.symbol for item in items] == phonemes
    return fastcopy(
        cut,
        supervisions=[
            fastcopy(
                supervision,
                speaker=supervision.speaker or UNLABELLED,
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


def _audio_folder(source: str, folder: Path) -> Path:
    """Folder of a relative audio path: that of the manifest, else the current folder."""
    try:
        return folder if (folder / source).is_file() else Path.cwd()
    except OSError:  # a name that is too long for the file system
        return folder


def _check_allowed(audio: Path, allowed: Collection[Path], where: str) -> None:
    """Refuses a recording outside of the allowed folders, as a manifest may come from a stranger.

    Raises:
        InputError: The file is below none of the folders, links followed.
    """
    folder = audio.resolve().parent if audio.is_symlink() else _resolved(audio.parent)
    if not any(folder == path or path in folder.parents for path in allowed):
        raise InputError(
            f"{where}: recording: found {shorten(str(audio))}, which is neither below the folder "
            "of the manifest nor below the current one; if you trust it, name the folder "
            "of its recordings (audio)"
        )


@functools.lru_cache(1024)
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def _sex(gender: str | None) -> str | None:
    first = (gender or "")[:1].upper()
    return first if first in {"M", "F"} else None
