"""Output formats of transcripts and alignments by name; their writers are imported on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from phoneme_moe.errors import ArgumentError, InputError, suggest
from phoneme_moe.extensions import Registry

if TYPE_CHECKING:
    from phoneme_moe.transcription.align import Alignment
    from phoneme_moe.transcription.transcript import Transcript

Writer: TypeAlias = "Callable[[Transcript], str] | str"
"""A function from a transcript to text that ends with a newline, or its place, module:function."""

_WRITERS = "phoneme_moe.transcription.writers"


@dataclass(frozen=True)
class Format:
    """An output format of transcripts.

    Attributes:
        suffix: File suffix.
        writer: Formats one transcript.
        header: Text at the start of a stream and of every file.
        file_writer: Used instead of ``writer`` in files, if they differ.
        of_alignments: Whether it suits alignments, too: it has times.
    """

    suffix: str
    writer: Writer
    header: str = ""
    file_writer: Writer | None = None
    of_alignments: bool = True

    def body(self, transcript: Transcript) -> str:
        """A transcript as text without the header."""
        return _function(self.writer)(transcript)

    def write(self, transcript: Transcript, stream: TextIO, first: bool = True) -> None:
        """Writes a transcript to a stream, with the header if it is the first."""
        stream.write((self.header if first else "") + self.body(transcript))

    def save(self, transcript: Transcript, path: Path) -> None:
        """Writes a file atomically."""
        from phoneme_moe.files.writing import write_text

        body = _function(self.file_writer or self.writer)(transcript)
        write_text(path, self.header + body)


FORMATS = Registry(
    "phoneme_moe.formats",
    Format,
    {
        "txt": Format(".txt", f"{_WRITERS}.transcripts:to_text", of_alignments=False),
        "json": Format(
            ".json",
            f"{_WRITERS}.documents:to_json",
            file_writer=f"{_WRITERS}.documents:to_indented_json",
        ),
        "jsonl": Format(".jsonl", f"{_WRITERS}.documents:to_json", of_alignments=False),
        "csv": Format(
            ".csv",
            f"{_WRITERS}.transcripts:to_csv",
            header="file,phoneme,start,end,confidence,expert,weight\n",
        ),
        "ctm": Format(".ctm", f"{_WRITERS}.transcripts:to_ctm"),
        "textgrid": Format(".TextGrid", f"{_WRITERS}.transcripts:to_textgrid"),
        "srt": Format(".srt", f"{_WRITERS}.transcripts:to_srt"),
        "vtt": Format(".vtt", f"{_WRITERS}.transcripts:to_vtt", header="WEBVTT\n\n"),
    },
)
"""Formats by the names that the option ``--format`` takes; other packages add to them."""

_OF_ALIGNMENTS = {
    "table": f"{_WRITERS}.alignments:to_table",
    "json": f"{_WRITERS}.documents:alignment_to_json",
    "csv": f"{_WRITERS}.alignments:to_csv",
    "textgrid": f"{_WRITERS}.alignments:to_textgrid",
}
"""Writers of what only alignments have."""


def alignment_formats(all_packages: bool = True) -> list[str]:
    """Names that ``align --format`` takes: those above, and formats of transcripts with times.

    Args:
        all_packages: Whether to look for those of other packages, too.
    """
    known = FORMATS if all_packages else FORMATS.items_here
    others = [name for name, format in known.items() if format.of_alignments]
    return [*_OF_ALIGNMENTS, *(name for name in others if name not in _OF_ALIGNMENTS)]


def alignment_text(alignment: Alignment, name: str) -> str:
    """Formats an alignment.

    Args:
        alignment: The alignment.
        name: One of ``alignment_formats``.
    """
    if name in _OF_ALIGNMENTS:
        text: str = _function(_OF_ALIGNMENTS[name])(alignment)
        return text
    format = FORMATS[name]
    return format.header + format.body(alignment.transcript)


def format_of(path: Path, name: str | None = None) -> Format:
    """The format of a transcript file.

    Args:
        path: The file.
        name: Name of the format; by default inferred from the suffix of the file.

    Raises:
        InputError: The format or the suffix is unknown.
    """
    if name is not None:
        if name not in FORMATS:
            raise ArgumentError("format", f"found {name!r}{suggest(name, FORMATS)}")
        return FORMATS[name]
    for known in FORMATS.values():
        if path.suffix.lower() == known.suffix.lower():
            return known
    suffixes = ", ".join(known.suffix for known in FORMATS.values())
    raise InputError(f"{path}: found suffix {path.suffix!r}, expected one of {suffixes}")


def _function(writer: Callable[..., str] | str) -> Callable[..., str]:
    if not isinstance(writer, str):
        return writer
    module, _, name = writer.partition(":")
    function: Callable[..., str] = getattr(import_module(module), name)
    return function
