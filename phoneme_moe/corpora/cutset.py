"""Corpus ``lhotse``: any Lhotse CutSet whose supervisions have phonemes, or words of a lexicon."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.corpora.alternatives import KEY, custom_fields, symbols_of
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

    from phoneme_moe.corpora.lexicon import Lexicon, Pronunciations
    from phoneme_moe.corpora.manifest import Splits
    from phoneme_moe.corpora.registry import Preparation
    from phoneme_moe.corpora.tables import Entry

_TIERS = ("phoneme", "phone")
_SPLITS = ("train", "dev", "test")


def settings(job: Preparation) -> dict[str, Any]:
    """Fingerprint of the manifests and of the lexicon, which determine the corpus."""
    from phoneme_moe.corpora.manifest import fingerprint
    from phoneme_moe.corpora.transcribed import lexicon_settings

    return {
        "manifests": fingerprint(_manifests(job.source).values()),
        "normal_form": NORMAL_FORM,
        **({} if job.lexicon is None else lexicon_settings(job)),
    }


def prepare(job: Preparation) -> Splits:
    """Prepares three manifests as splits, or one, which is split 80/10/10 within each speaker.

    Raises:
        InputError: A manifest or the lexicon cannot be read, a cut has no speaker or no phonemes, a
            word is not in the lexicon, or a recording is outside of the allowed folders.
    """
    from phoneme_moe.corpora.lexicon import read_lexicon
    from phoneme_moe.corpora.splits import split_within_speakers

    lexicon = None if job.lexicon is None else read_lexicon(job.lexicon)
    manifests = _manifests(job.source)
    splits = {split: _read(manifest, lexicon, job) for split, manifest in manifests.items()}
    return split_within_speakers(splits["all"]) if "all" in splits else splits


def has_layout(source: Path) -> bool:
    """Whether a path is a manifest, or a folder with those of all splits."""
    return source.is_file() or (source / "cuts_train.jsonl.gz").is_file()


def read_texts(source: Path) -> dict[str, Entry]:
    """The text of every cut that has no phonemes.

    Raises:
        InputError: A manifest cannot be read.
    """
    from phoneme_moe.corpora.cut_document import read_cuts
    from phoneme_moe.corpora.tables import Entry

    return {
        where: Entry(document.supervision.text or "", where)
        for manifest in _manifests(source).values()
        for document, where in read_cuts(manifest)
        if not _phonemes(document.to_cut(manifest.parent).supervisions[0])
    }


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


def _read(manifest: Path, lexicon: Lexicon | None, job: Preparation) -> list[Cut]:
    from phoneme_moe.corpora.cut_document import read_cuts
    from phoneme_moe.corpora.lexicon import refuse_words
    from phoneme_moe.system.progress import track

    folder = manifest.parent
    allowed = {path.resolve() for path in (folder, Path.cwd(), job.audio) if path is not None}
    read = {}
    for document, where in track(read_cuts(manifest), "Reading cuts", job.progress):
        audio_folder = _audio_folder(document.source, folder)
        _check_allowed(audio_folder / document.source, allowed, where)
        read[where] = document.to_cut(audio_folder)
    has_speakers = any(cut.supervisions[0].speaker for cut in read.values())
    words = {} if lexicon is None else _pronounce(read, lexicon, manifest, job)
    cuts = [
        _normalise(cut, where, has_speakers, words.get(where, ()))
        for where, cut in read.items()
        if lexicon is None or where in words or _phonemes(cut.supervisions[0])
    ]
    refuse_words((tuple(symbols_of(cut.supervisions[0].custom)) for cut in cuts), manifest)
    return cuts


def _pronounce(
    read: Mapping[str, Cut], lexicon: Lexicon, manifest: Path, job: Preparation
) -> dict[str, Pronunciations]:
    """Pronunciations of the words of each cut without phonemes; cuts without words are left out."""
    from phoneme_moe.corpora.lexicon import pronounce
    from phoneme_moe.corpora.tables import Entry

    supervisions = {where: cut.supervisions[0] for where, cut in read.items()}
    texts = {
        where: Entry(supervision.text or "", where)
        for where, supervision in supervisions.items()
        if not _phonemes(supervision)
    }
    words = pronounce(texts, lexicon, manifest, job.unknown_words, job.notes)
    for where in words:
        if not words[where]:
            job.notes.add("utterances without words, left out", where)
    return {where: its_words for where, its_words in words.items() if its_words}


def _phonemes(supervision: Any) -> list[str]:
    """The phonemes of a supervision in their normal form, from ``custom`` or else an alignment."""
    phonemes = (supervision.custom or {}).get("phonemes")
    if phonemes:
        return [normalize_phoneme(phoneme) for phoneme in phonemes]
    return [item.symbol for item in _alignment(supervision)]


def _alignment(supervision: Any) -> list[Any]:
    """The items of the phoneme alignment of a supervision, if there is one, without silence."""
    tiers = supervision.alignment or {}
    return _spoken(next((tiers[name] for name in _TIERS if tiers.get(name)), []))


def _normalise(cut: Cut, where: str, has_speakers: bool, words: Pronunciations) -> Cut:
    """Stores the phonemes of a cut in ``custom["phonemes"]`` and ``alignment["phoneme"]``.

    Args:
        cut: A cut with one supervision.
        where: The cut, for error messages.
        has_speakers: Whether any cut has a speaker; otherwise all are ``UNLABELLED``.
        words: Pronunciations of the words of its text, if they come from a lexicon.
    """
    from lhotse.utils import fastcopy

    supervision = cut.supervisions[0]
    if not supervision.speaker and has_speakers:
        raise InputError(f"{where} has no speaker, unlike other cuts")
    custom = dict(supervision.custom or {})
    words = words or custom.pop(KEY, ())
    phonemes = _phonemes(supervision) or list(split_phonemes(supervision.text or ""))
    custom |= custom_fields(words) if words else {"phonemes": phonemes}
    if not custom["phonemes"]:
        raise InputError(
            f"{where} has no phonemes: looked for custom['phonemes'], an alignment named "
            "'phoneme' or 'phone', and a text of phonemes"
        )
    for symbol in sorted(symbols_of(custom)):
        if not is_symbol(symbol):
            raise InputError(f"{where}: found {symbol[:40]!r}, which is not a phoneme")
    # An alignment with different phonemes would contradict the reference.
    items = _alignment(supervision)
    matches = [item.symbol for item in items] == custom["phonemes"]
    return fastcopy(
        cut,
        supervisions=[
            fastcopy(
                supervision,
                speaker=supervision.speaker or UNLABELLED,
                gender=_sex(supervision.gender),
                custom=custom,
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
