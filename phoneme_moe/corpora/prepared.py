"""Finding and loading prepared corpora."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from phoneme_moe.corpora.alternatives import symbols_of
from phoneme_moe.corpora.registry import CORPORA
from phoneme_moe.corpora.words import is_symbol
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.files.documents import Document

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

    from phoneme_moe.corpora.cut_document import CutDocument

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

    def cuts(self, split: str, checked: bool = True) -> CutSet:
        """Loads the utterances of a split into memory; as ``iter_cuts``."""
        from lhotse import CutSet

        return CutSet.from_cuts(list(self.iter_cuts(split, checked)))

    def seconds(self, split: str) -> float:
        """Length of the speech of a split.

        Raises:
            InputError: The split is unknown.
        """
        _check_split(split)
        return float(self.description["splits"][split]["seconds"])

    def iter_cuts(self, split: str, checked: bool = True) -> Iterator[Cut]:
        """Reads the utterances of a split one after the other, with resolved audio paths.

        Args:
            split: ``"train"``, ``"dev"`` or ``"test"``.
            checked: Whether speakers and phonemes must be those of ``corpus.json``.

        Returns:
            Cuts with one supervision each: speaker, gender, text, ``custom["phonemes"]``,
            where words have several pronunciations ``custom["pronunciations"]`` (see
            ``alternatives``) and, if times are known, ``alignment["phoneme"]`` in seconds.

        Raises:
            InputError: The split is unknown, or its file is missing or damaged.
        """
        _check_split(split)
        return self.read_cuts(cuts_file(self.folder, split), checked)

    def read_cuts(self, manifest: Path, checked: bool = True) -> Iterator[Cut]:
        """Reads utterances of the corpus from a manifest; as ``iter_cuts``."""
        from phoneme_moe.corpora.cut_document import read_cuts

        folder = self.folder.resolve()
        for document, where in read_cuts(manifest):
            if checked:
                self.check_labels(document, where)
            # Absolute paths to user data remain unchanged.
            yield document.to_cut(folder)

    def check_labels(self, document: CutDocument, where: str) -> None:
        """Checks the speaker and the phonemes of a cut.

        Raises:
            InputError: ``corpus.json`` does not list them, or the cut has no phonemes.
        """
        unknown = sorted(symbols_of(document.supervision.custom) - self._phonemes)
        if not document.phonemes:
            raise InputError(f"{where}: found no phonemes")
        if unknown:
            raise InputError(
                f"{where}: found the phoneme {unknown[0]!r}, which corpus.json does not list"
            )
        if document.supervision.speaker not in self._speakers:
            raise InputError(
                f"{where}: found the speaker {document.supervision.speaker!r}, whom corpus.json "
                "does not list"
            )

    @cached_property
    def _phonemes(self) -> frozenset[str]:
        return frozenset(self.phonemes)

    @cached_property
    def _speakers(self) -> frozenset[str]:
        return frozenset(self.speakers)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise InputError(f"split {split!r} does not exist{suggest(split, SPLITS)}")


def prepared_names() -> list[str]:
    """Names of the prepared corpora under ``data_root()``, sorted."""
    return sorted(file.parent.name for file in data_root().glob(f"[!.]*/{DESCRIPTION_FILE}"))


class SplitCounts(Document):
    """Numbers of a split."""

    speakers: int
    utterances: int
    seconds: float
    phonemes: int


class CorpusDescription(Document):
    """``corpus.json`` of a prepared corpus."""

    model_config = ConfigDict(extra="ignore")
    max_bytes: ClassVar[int] = 64_000_000

    name: str
    format_version: int
    source: str | None
    settings: dict[str, Any]
    splits: dict[str, SplitCounts]
    notes: list[str] = Field(default_factory=list)
    phonemes: Annotated[list[str], Field(min_length=1, max_length=10_000)]
    speakers: Annotated[
        dict[Annotated[str, Field(min_length=1)], Literal["M", "F"] | None], Field(min_length=1)
    ]

    @field_validator("phonemes")
    @classmethod
    def _are_symbols(cls, phonemes: list[str]) -> list[str]:
        for phoneme, number in Counter(phonemes).items():
            if number > 1:
                raise ValueError(f"found {phoneme[:40]!r} {number} times, expected once")
            if not is_symbol(phoneme):
                raise ValueError(f"found {phoneme[:40]!r}, which is not a phoneme")
        return phonemes


def read_description(folder: Path) -> dict[str, Any]:
    """Reads and validates ``corpus.json``.

    Raises:
        InputError: The file is missing, damaged, or written by a newer release.
    """
    file = folder / DESCRIPTION_FILE
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    try:
        description = CorpusDescription.parse_json(content, str(file))
    except InputError as error:
        raise InputError(f"{error}; delete the folder and prepare it again") from error
    version = description.format_version
    if version > FORMAT_VERSION:
        raise InputError(
            f"{file}: format version {version}, but this release reads up to {FORMAT_VERSION}; "
            "update phoneme-moe or prepare the corpus again"
        )
    return description.model_dump()


def load_corpus(name: str) -> PreparedCorpus:
    """Opens a prepared corpus by name.

    Args:
        name: Name of a corpus in ``CORPORA``, or the name given in its preparation; several with
            ``+`` between them are joined (``corpora.joined``).

    Raises:
        InputError: The name is unknown, the corpus is not prepared, or its format is newer.
    """
    if "+" in name:
        from phoneme_moe.corpora.joined import join_corpora

        parts = name.split("+")
        for index, part in enumerate(parts):
            if part in parts[:index]:
                raise InputError(f"corpus {name!r}: found {part!r} twice, expected once")
        missing = sorted(set(parts) - set(prepared_names()), key=parts.index)
        if len(missing) > 1:
            raise InputError(
                f"corpora that are not prepared in {data_root()}: {', '.join(missing)}; prepare "
                "each with phoneme-moe corpora prepare: its layout, the folder of its files, and "
                "this name"
            )
        return join_corpora(tuple(load_corpus(part) for part in parts))
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
