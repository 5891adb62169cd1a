"""Lhotse cuts from the manifest of a shard, validated as those of other manifests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from phoneme_moe.corpora.cut_document import (
    CutDocument,
    RecordingDocument,
    SourceDocument,
    read_documents,
)
from phoneme_moe.files.documents import shorten

if TYPE_CHECKING:
    from lhotse.cut import MonoCut


class _ShardSource(SourceDocument):
    """Audio in an archive beside the manifest, as Lhotse Shar has it."""

    source: Literal[""]

    @model_validator(mode="after")
    def _is_a_file(self) -> Self:
        if self.type != "shar":
            raise ValueError(f"found type {shorten(self.type)}, expected type 'shar'")
        return self


class _ShardRecording(RecordingDocument):
    """A recording of a shard."""

    sources: Annotated[tuple[_ShardSource, ...], Field(min_length=1, max_length=1)]


class ShardCutDocument(CutDocument):
    """A line of the manifest of a shard (``corpora.shards``)."""

    recording: _ShardRecording

    def to_cut_in_memory(self, audio: bytes) -> MonoCut:
        """Creates the Lhotse cut.

        Args:
            audio: Content of an audio file.
        """
        from lhotse import AudioSource

        return self._to_cut(AudioSource("memory", self._source.channels, audio))


def read_shard_cuts(manifest: Path) -> Iterator[tuple[ShardCutDocument, str]]:
    """As ``read_cuts``, of a shard."""
    return read_documents(manifest, ShardCutDocument)
