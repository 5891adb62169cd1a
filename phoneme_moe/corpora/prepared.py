"""Finding and loading prepared corpora."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.corpora.registry import CORPORA
from phoneme_moe.errors import InputError, suggest

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

FORMAT_VERSION = 1
UNLABELLED = "unlabelled"
"""Speaker name for corpora without speaker labels."""

SPLITS = ("train", "dev", "test")
DESCRIPTION_FILE = "corpus.json"


def data_root() -> Path:
    """The folder of all prepared corpora: ``$PHONEME_MOE_DATA``, else ``./data``."""
    return Path(os.environ.get("PHONEME_MOE_DATA") or "data")


def cuts_file(folder: Path, split: str) -> Path:
    """File of the cuts of a split in a corpus folder."""
    return folder / f"cuts_{split}.jsonl.gz"


@dataclass(frozen=True)
class PreparedCorpus:
    """A prepared corpus.

    Attributes:
        name: Name of the corpus in recipes (``corpus.name``).
        folder: Folder of the corpus, which may be moved if its audio is synthesised.
        phonemes: All phonemes of all splits, sorted.
        speakers: All speakers of all splits, sorted.
        description: Content of ``corpus.json``: source, settings, counts, sex of the speakers.
    """

    name: str
    folder: Path
    phonemes: tuple[str, ...]
    speakers: tuple[str, ...]
    description: dict[str, Any]

    @property
    def notes(self) -> list[str]:
        """What the preparation left out or changed, in one line each."""
        return [str(note) for note in self.description.get("notes", ())]

    def cuts(self, split: str) -> CutSet:
        """Loads the utterances of a split into memory, with resolved audio paths.

        Args:
            split: ``"train"``, ``"dev"`` or ``"test"``.

        Returns:
            A CutSet with one supervision per cut: speaker, gender, text, ``custom["phonemes"]``
            and, if times are known, ``alignment["phoneme"]`` in seconds.

        Raises:
            InputError: The split is unknown, or its file is missing or damaged.
        """
        if split not in SPLITS:
            raise InputError(f"split {split!r} does not exist{suggest(split, SPLITS)}")
        from lhotse import CutSet
        from lhotse.serialization import load_jsonl

        file = cuts_file(self.folder, split)
        try:
            cuts = CutSet.from_dicts(load_jsonl(file)).to_eager()
        except Exception as error:  # gzip, JSON and Lhotse each raise their own kinds
            raise InputError(f"{file}: cannot be read as Lhotse cuts ({error})") from error
        for cut in cuts:
            require_file_sources(cut, f"{file}: cut {cut.id!r}")
        # Absolute paths to user data remain unchanged.
        return CutSet.from_cuts(
            cut.with_recording_path_prefix(self.folder.resolve()) for cut in cuts
        )


def require_file_sources(cut: Cut, where: str) -> None:
    """Rejects recordings that are not files, since Lhotse would run commands and fetch URLs.

    Args:
        cut: A cut with a recording.
        where: The manifest and the cut, for error messages.

    Raises:
        InputError: A source of the recording is neither a file nor stored in the manifest.
    """
    for source in cut.recording.sources:
        if source.type not in {"file", "memory"}:
            raise InputError(
                f"{where}: recording.sources: found type {source.type!r} ({source.source}), which "
                "is neither run nor fetched; expected type 'file'"
            )


def prepared_names() -> list[str]:
    """Names of the prepared corpora under ``data_root()``, sorted."""
    return sorted(file.parent.name for file in data_root().glob(f"[!.]*/{DESCRIPTION_FILE}"))


def read_description(folder: Path) -> dict[str, Any]:
    """Reads and validates ``corpus.json``.

    Raises:
        InputError: The file is missing, damaged, or written by a newer release.
    """
    file = folder / DESCRIPTION_FILE
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        version = description["format_version"]
        if not {"name", "phonemes", "speakers", "splits"} <= description.keys():
            raise KeyError("name, phonemes, speakers or splits")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: not the description of a prepared corpus ({error}); "
            "delete the folder and prepare it again"
        ) from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(
            f"{file}: format version {version}, but this release reads up to {FORMAT_VERSION}; "
            "update phoneme-moe or prepare the corpus again"
        )
    return dict(description)


def load_corpus(name: str) -> PreparedCorpus:
    """Opens a prepared corpus by name.

    Args:
        name: Name of a corpus in ``CORPORA``, or the name given in its preparation.

    Raises:
        InputError: The name is unknown, the corpus is not prepared, or its format is newer.
    """
    folder = data_root() / name
    names = prepared_names()
    if name not in names:
        if name not in CORPORA:
            known = [*CORPORA, *names]
            raise InputError(
                f"corpus {name!r} is unknown: no such folder in {data_root()}{suggest(name, known)}"
            )
        source = " --from DIR" if CORPORA[name].needs_source else ""
        raise InputError(
            f"corpus {name!r} is not prepared: no {folder / DESCRIPTION_FILE}; "
            f"run: phoneme-moe corpora prepare {name}{source}"
        )
    description = read_description(folder)
    return PreparedCorpus(
        name=name,
        folder=folder,
        phonemes=tuple(description["phonemes"]),
        speakers=tuple(description["speakers"]),
        description=description,
    )
