"""Lhotse cuts from a JSON manifest, validated before Lhotse sees them.

A manifest may come from a stranger, and Lhotse would run commands, fetch URLs and open arrays that
it names. So no object is created by Lhotse's own reader: a line is validated here, and cuts are
built from what is allowed. A recording is a single audio file; a path may be anywhere, since the
manifests of users have absolute paths, and a file is only ever read as audio.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias, TypeVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from phoneme_moe.corpora.alternatives import check_alternatives
from phoneme_moe.corpora.json_lines import MAX_LINE, read_json_lines
from phoneme_moe.files.documents import Document, shorten

if TYPE_CHECKING:
    from lhotse import AudioSource
    from lhotse.cut import MonoCut

Seconds = Annotated[float, Field(ge=0, le=1e7)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]


def _item(item: object) -> object:
    """An item as four values: before Lhotse 1.8 it was an object, and the score may be absent."""
    if isinstance(item, dict):
        item = list(item.values())
    return (*item, None)[: max(4, len(item))] if isinstance(item, list) else item


Item: TypeAlias = Annotated[tuple[str, Seconds, Seconds, float | None], BeforeValidator(_item)]
"""Symbol, start and duration in seconds, and a score."""

_POINTERS = {"storage_type", "storage_path", "storage_key", "array", "sources"}
"""Keys by which Lhotse recognises data to be opened."""
MAX_OVERSHOOT = 0.5
"""Seconds by which an alignment may end after its cut."""
_TOLERANCE = 1e-3
"""Tolerance of times in seconds, as in Lhotse."""


class SourceDocument(Document):
    """An audio file."""

    type: str
    channels: Annotated[list[Annotated[int, Field(ge=0, le=1023)]], Field(min_length=1)]
    source: Any
    video: Any = None

    @model_validator(mode="after")
    def _is_a_file(self) -> Self:
        if self.type != "file":
            raise ValueError(
                f"found type {shorten(self.type)} ({shorten(self.source)}), which is neither run "
                "nor fetched; expected type 'file'"
            )
        source = self.source
        if not isinstance(source, str) or not 0 < len(source) < 4096 or "\0" in source:
            raise ValueError(f"source: found {shorten(source)}, expected the path of a file")
        return self


class RecordingDocument(Document):
    """A recording."""

    id: Name
    sources: Annotated[tuple[SourceDocument, ...], Field(min_length=1)]
    sampling_rate: Annotated[int, Field(ge=1_000, le=768_000)]
    num_samples: Annotated[int, Field(ge=1, le=10**13)]
    duration: Annotated[float, Field(gt=0, le=1e7)]
    channel_ids: list[int] | None = None
    transforms: Any = None

    @model_validator(mode="after")
    def _is_unchanged(self) -> Self:
        if self.transforms:
            raise ValueError(
                f"transforms: found {shorten(self.transforms)}, which are not applied; expected "
                "none (audio is resampled in training anyway; other changes: cuts.save_audios)"
            )
        samples = self.num_samples / self.sampling_rate
        if abs(samples - self.duration) > 0.025:
            raise ValueError(
                f"duration: found {self.duration} s, expected {samples:.4f} s (num_samples by "
                "sampling_rate)"
            )
        return self


class SupervisionDocument(Document):
    """Speaker and transcript of a cut."""

    id: Name
    recording_id: str
    start: Annotated[float, Field(ge=-1e7, le=1e7)]
    duration: Seconds
    channel: int | list[int] = 0
    text: str | None = None
    language: str | None = None
    speaker: str | None = None
    gender: str | None = None
    custom: dict[str, Any] | None = None
    alignment: dict[str, list[Item]] | None = None

    @field_validator("custom")
    @classmethod
    def _is_plain(cls, custom: dict[str, Any] | None) -> dict[str, Any] | None:
        refuse_pointers(custom)
        phonemes = (custom or {}).get("phonemes")
        if phonemes is not None and not (
            isinstance(phonemes, list) and all(isinstance(p, str) for p in phonemes)
        ):
            raise ValueError(f"phonemes: found {shorten(phonemes)}, expected a list of symbols")
        check_alternatives(custom or {})
        return custom


class CutDocument(Document):
    """A line of a manifest: a cut with one channel."""

    max_bytes: ClassVar[int] = MAX_LINE

    id: Name
    type: Literal["MonoCut", "Cut"] = "MonoCut"
    start: Seconds
    duration: Annotated[float, Field(gt=0, le=1e7)]
    channel: Annotated[int, Field(ge=0)]
    supervisions: list[SupervisionDocument]
    recording: RecordingDocument
    features: Any = None
    custom: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_within_its_recording(self) -> Self:
        if len(self.supervisions) != 1:
            raise ValueError(
                f"supervisions: found {len(self.supervisions)}, expected 1 "
                "(cuts.trim_to_supervisions)"
            )
        if self.features is not None:
            raise ValueError(
                "features: found a pointer to an array, which is not read; expected none "
                "(cuts.drop_features)"
            )
        refuse_pointers(self.custom)
        end = self.start + self.duration
        if end > self.recording.duration + _TOLERANCE:
            raise ValueError(
                f"duration: the cut ends at {end:.4f} s, its recording at "
                f"{self.recording.duration} s"
            )
        for name, items in (self.supervision.alignment or {}).items():
            for symbol, start, duration, *_ in items:
                if start + duration > self.duration + MAX_OVERSHOOT:
                    raise ValueError(
                        f"alignment.{name[:40]}: {symbol[:20]!r} ends at {start + duration:.4f} s, "
                        f"the cut at {self.duration} s"
                    )
        if not any(self.channel in source.channels for source in self.recording.sources):
            raise ValueError(f"channel: found {self.channel}, which no source of the recording has")
        return self

    @property
    def supervision(self) -> SupervisionDocument:
        """The only supervision."""
        return self.supervisions[0]

    @property
    def phonemes(self) -> list[str]:
        """The phonemes of a prepared cut; empty if it has none."""
        return list((self.supervision.custom or {}).get("phonemes") or ())

    @property
    def source(self) -> str:
        """Path of the audio file."""
        return str(self._source.source)

    @property
    def _source(self) -> SourceDocument:
        return next(s for s in self.recording.sources if self.channel in s.channels)

    def to_cut(self, folder: Path) -> MonoCut:
        """Creates the Lhotse cut.

        Args:
            folder: Folder of relative audio paths.
        """
        from lhotse import AudioSource

        return self._to_cut(AudioSource("file", self._source.channels, str(folder / self.source)))

    def _to_cut(self, source: AudioSource) -> MonoCut:
        from lhotse import MonoCut, Recording, SupervisionSegment
        from lhotse.supervision import AlignmentItem

        recording, supervision = self.recording, self.supervision
        alignment = supervision.alignment
        return MonoCut(
            id=self.id,
            start=self.start,
            duration=self.duration,
            channel=self.channel,
            recording=Recording(
                id=recording.id,
                sources=[source],
                sampling_rate=recording.sampling_rate,
                num_samples=recording.num_samples,
                duration=recording.duration,
            ),
            supervisions=[
                SupervisionSegment(
                    id=supervision.id,
                    recording_id=supervision.recording_id,
                    start=supervision.start,
                    duration=supervision.duration,
                    channel=supervision.channel,
                    text=supervision.text,
                    language=supervision.language,
                    speaker=supervision.speaker,
                    gender=supervision.gender,
                    custom=supervision.custom,
                    alignment=None
                    if alignment is None
                    else {
                        name: [AlignmentItem(*item) for item in items]
                        for name, items in alignment.items()
                    },
                )
            ],
            custom=self.custom,
        )


def refuse_pointers(custom: dict[str, Any] | None) -> None:
    """Checks that custom fields contain nothing that Lhotse would open.

    Raises:
        ValueError: One of them is or contains a pointer to an array or a recording.
    """
    values: list[Any] = list((custom or {}).values())
    while values:
        value = values.pop()
        if isinstance(value, dict):
            for key in value.keys() & _POINTERS:
                raise ValueError(
                    f"found the key {key!r}, a pointer to data elsewhere, which is not read; "
                    "expected plain values"
                )
            values += value.values()
        elif isinstance(value, list):
            values += value


DocumentOfCut = TypeVar("DocumentOfCut", bound=CutDocument)


def read_cuts(manifest: Path) -> Iterator[tuple[CutDocument, str]]:
    """Reads a manifest, ``.jsonl`` or ``.jsonl.gz``.

    Yields:
        Each cut, and its place ``FILE:LINE: cut ID`` for error messages.

    Raises:
        InputError: The file cannot be read or exceeds bounds, or a cut is not allowed; the message
            names line and key.
    """
    return read_documents(manifest, CutDocument)


def read_documents(
    manifest: Path, document_type: type[DocumentOfCut]
) -> Iterator[tuple[DocumentOfCut, str]]:
    """As ``read_cuts``, of cuts of another kind."""
    for line, where in read_json_lines(manifest):
        document = document_type.parse_json(line, where)
        yield document, f"{where}: cut {document.id[:80]!r}"
