"""Atomic preparation of corpora; a corpus that is up to date is not prepared again."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from phoneme_moe.corpora.joined import JoinedCorpus
from phoneme_moe.corpora.lexicon import UNKNOWN_WORDS
from phoneme_moe.corpora.notes import Notes
from phoneme_moe.corpora.prepared import (
    DESCRIPTION_FILE,
    FORMAT_VERSION,
    PreparedCorpus,
    data_root,
    load_corpus,
    prepared_names,
    read_description,
)
from phoneme_moe.corpora.registry import CORPORA, CorpusSource, Preparation
from phoneme_moe.errors import ArgumentError, InputError, suggest
from phoneme_moe.files.atomic import atomic_folder

if TYPE_CHECKING:
    from phoneme_moe.corpora.manifest import Splits


class LabelOptions(TypedDict, total=False):
    """How the labels of the user's recordings are read.

    Attributes:
        lexicon: A pronunciation lexicon, if the texts are words.
        unknown_words: What is done about words outside the lexicon: ``"refuse"`` (an error; the
            default), ``"skip"`` (their utterances are left out), or ``"g2p"`` (pronunciations are
            guessed from those of the lexicon).
        tier: Tier of TextGrids; by default one with a usual name (``phones``, ``words`` ...).
        symbols: Notation (``arpabet``, ``ipa``, ``xsampa``) that phonemes are converted to; by
            default they are kept as they are.
        audio: Folder of the recordings of a manifest, if they are neither below the manifest's
            folder nor below the current one.
    """

    lexicon: Path | None
    unknown_words: str | None
    tier: str | None
    symbols: str | None
    audio: Path | None


def prepare_corpus(
    name: str,
    source: Path | None = None,
    *,
    as_name: str | None = None,
    progress: bool = True,
    **options: Unpack[LabelOptions],
) -> Path:
    """Prepares a corpus under ``data_root()``, unless the same corpus already exists.

    The corpus is built in a hidden folder beside its target and finally renamed, so an interruption
    leaves no incomplete corpus. While another process prepares it, this one waits.

    Args:
        name: Name of a corpus in ``CORPORA``.
        source: Folder or file with the user's data, for a corpus that needs it.
        as_name: Name of the corpus in recipes; ``name`` by default.
        progress: Whether to show a progress bar on stderr, if it is a terminal.
        options: The keywords of ``LabelOptions``, for corpora of the user.

    Returns:
        The folder of the prepared corpus.

    Raises:
        InputError: The name, the source or a part of it cannot be used.
    """
    corpus, target, job, settings = _plan(name, source, as_name, progress, options)
    write_prepared(
        target,
        settings,
        lambda folder: corpus.prepare(replace(job, folder=folder)),
        job.source,
        job.notes,
    )
    return target


class _AlreadyPreparedError(Exception):
    """The same corpus exists, perhaps made by another process in the meantime."""


def write_prepared(
    target: Path,
    settings: dict[str, Any],
    make: Callable[[Path], Splits],
    source: Path | None = None,
    notes: Notes | None = None,
) -> None:
    """Writes a corpus folder atomically, unless the same corpus already exists.

    Args:
        target: The folder, named after the corpus.
        settings: All settings that determine the result.
        make: Returns the cuts of every split, given a folder; may write audio to ``audio`` in it.
        source: Folder or file with the user's data, if any.
        notes: What ``make`` left out or changed.

    Raises:
        InputError: The folder is not a prepared corpus, or it contains the source.
    """

    def check(target: Path) -> None:
        if _holds(target, source, settings):
            raise _AlreadyPreparedError
        if target.exists() and not (target / DESCRIPTION_FILE).is_file():
            raise InputError(
                f"{target}: exists and is not a prepared corpus; move it away or choose another "
                "name"
            )
        if source is not None and source.is_relative_to(target.resolve()):
            raise InputError(f"{source}: is inside {target}, which would be replaced")

    def wait() -> None:
        print(f"waiting for another process, which prepares {target.name}", file=sys.stderr)

    with suppress(_AlreadyPreparedError), atomic_folder(target, check, wait) as folder:
        from phoneme_moe.corpora.manifest import write_corpus

        splits = make(folder)
        lines = notes.lines() if notes is not None else []
        write_corpus(folder, target.name, splits, source, settings, lines)


def is_prepared(
    name: str,
    source: Path | None = None,
    *,
    as_name: str | None = None,
    **options: Unpack[LabelOptions],
) -> bool:
    """Whether the corpus of ``prepare_corpus`` with the same arguments is up to date.

    Raises:
        InputError: The name or the source cannot be used.
    """
    _, target, job, settings = _plan(name, source, as_name, False, options)
    return _holds(target, job.source, settings)


def ensure_corpus(name: str, progress: bool = True) -> PreparedCorpus:
    """Opens a corpus for training; prepares it first if it is missing and needs no user files.

    Args:
        name: As for ``load_corpus``; also several, with ``+`` between them.
        progress: Whether to show a progress bar.

    Raises:
        InputError: The corpus is unknown, or it is not prepared and needs user files; or corpora do
            not fit together.
    """
    for part in name.split("+"):
        source = CORPORA.get(part)
        if source is not None and not source.needs_source and part not in prepared_names():
            prepare_corpus(part, progress=progress)
    corpus = load_corpus(name)
    if isinstance(corpus, JoinedCorpus):
        corpus.require_separate_speakers()
    return corpus


def _plan(
    name: str, source: Path | None, as_name: str | None, progress: bool, options: LabelOptions
) -> tuple[CorpusSource, Path, Preparation, dict[str, Any]]:
    """Checks the arguments before anything is written."""
    if name not in CORPORA:
        raise InputError(f"corpus {name!r} is unknown{suggest(name, CORPORA)}")
    corpus = CORPORA[name]
    target_name = as_name or name
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", target_name):
        problem = f"found {target_name!r}, expected letters, digits, '_', '-' and '.' only"
        raise ArgumentError("as_name", problem)
    if target_name != name and target_name in CORPORA:
        raise ArgumentError("as_name", f"the name {target_name!r} belongs to another corpus")
    if corpus.needs_source and source is None:
        raise ArgumentError(
            "source", f"found none, expected the folder with your copy of corpus {name!r}"
        )
    if not corpus.needs_source and source is not None:
        raise ArgumentError(
            "source", f"found {source}, but the audio of corpus {name!r} is synthesised"
        )
    if source is not None and not source.exists():
        raise ArgumentError("source", f"{source}: no such file or folder")
    for option, value in options.items():
        if value and option not in corpus.options:
            users = " and ".join(repr(c.name) for c in CORPORA.values() if option in c.options)
            raise ArgumentError(option, f"corpus {name!r} has no use for it, only {users}")
    lexicon, audio = options.get("lexicon"), options.get("audio")
    if audio is not None and not audio.is_dir():
        raise ArgumentError("audio", f"{audio}: no such folder")
    if lexicon is not None and not lexicon.is_file():
        raise ArgumentError("lexicon", f"{lexicon}: no such file")
    unknown_words = options.get("unknown_words")
    if unknown_words is not None and unknown_words not in UNKNOWN_WORDS:
        problem = f"found {unknown_words!r}{suggest(unknown_words, UNKNOWN_WORDS)}"
        raise ArgumentError("unknown_words", problem)
    if unknown_words is not None and lexicon is None:
        raise ArgumentError("unknown_words", "found no lexicon that words may be unknown to")
    for argument, path in (("source", source), ("lexicon", lexicon)):
        if path is not None and not _is_unicode(path.resolve()):
            # Manifests are JSON, which has no other names.
            raise ArgumentError(argument, f"{path}: the name is not UTF-8; expected another one")
    target = data_root() / target_name
    job = Preparation(
        folder=target,
        source=None if source is None else source.resolve(),
        lexicon=None if lexicon is None else lexicon.resolve(),
        unknown_words=unknown_words or "refuse",
        tier=options.get("tier"),
        symbols=options.get("symbols"),
        audio=None if audio is None else audio.resolve(),
        progress=progress,
    )
    return corpus, target, job, {"corpus": name, **corpus.settings(job)}


def _is_unicode(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _holds(target: Path, source: Path | None, settings: dict[str, Any]) -> bool:
    """Whether the folder contains the corpus with these settings."""
    if not (target / DESCRIPTION_FILE).is_file():
        return False
    description = read_description(target)
    return bool(
        description["format_version"] == FORMAT_VERSION
        and description["source"] == (None if source is None else str(source))
        and description["settings"] == settings
    )
