"""``phoneme-moe align``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from phoneme_moe.cli.completion import alignment_format_names
from phoneme_moe.cli.options import (
    Channel,
    Device,
    RunOrOnnx,
    Symbols,
    alignment_format,
    error_line,
    found_audio,
    named_path,
)
from phoneme_moe.errors import InputError
from phoneme_moe.system.terminal import print_error, print_line
from phoneme_moe.transcription.formats import FORMATS, alignment_formats, alignment_text

if TYPE_CHECKING:
    from phoneme_moe.corpora.lexicon import Lexicon
    from phoneme_moe.transcription.align import Alignment
    from phoneme_moe.transcription.model_spec import Engine


STREAMED = {"table", "csv", "ctm"}
"""Formats of which several may follow each other on standard output."""


def align(
    run: RunOrOnnx,
    audio: Annotated[
        list[Path],
        typer.Argument(
            help="Audio files, folders, patterns, or - for stdin.",
            parser=named_path,
            metavar="audio",
        ),
    ],
    phonemes: Annotated[
        str | None, typer.Option(help="Phonemes that were spoken, such as 'P EH N'.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Words that were spoken (needs --lexicon).")
    ] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(help="Pronunciations, one per line as in CMUdict or MFA: WORD  P1 P2 ..."),
    ] = None,
    textgrid: Annotated[
        Path | None,
        typer.Option(help="A TextGrid or label file with the phonemes that were spoken."),
    ] = None,
    tier: Annotated[
        str | None,
        typer.Option(help="Tier of the TextGrids.", show_default="phonemes, phones or so"),
    ] = None,
    symbols: Symbols = None,
    format: Annotated[
        str,
        typer.Option(
            help="Output format; table is for the terminal.",
            metavar=f"[{'|'.join(alignment_formats(all_packages=False))}]",
            parser=alignment_format,
            autocompletion=alignment_format_names,
        ),
    ] = "table",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write to this file; to this folder, if labels are beside the recordings.",
            show_default="stdout",
        ),
    ] = None,
    channel: Channel = None,
    device: Device = "auto",
) -> None:
    """Align recordings with known phonemes or words, and score the pronunciation.

    Without --phonemes, --text and --textgrid, the labels are those beside each
    recording: a.TextGrid, a.lab or a.txt for a.wav; of words with --lexicon.

    goodness: log likelihood ratio between a phoneme and the best alternative
    (another phoneme, or none) in its place. If negative, the alternative in
    column best fits better.

    score: the same as 0 to 100: of 100 phonemes with the score 80, half of all
    having been replaced on purpose, about 80 were those of the text. A word's and
    the sentence's are the means of their phonemes.

    With TextGrids, dstart and dend are the differences to their times in ms.
    """
    given = [source for source in (phonemes, text, textgrid) if source is not None]
    if len(given) > 1:
        raise InputError("align: expected one of --phonemes, --textgrid, and --text with --lexicon")
    if tier is not None and given and textgrid is None:
        raise InputError("align: expected --textgrid with --tier")
    if given and (text is None) != (lexicon is None):
        raise InputError("align: expected both --text and --lexicon, found only one of them")
    if not given and out is None and format not in STREAMED:
        raise InputError(f"--format {format}: one file per recording, expected --out FOLDER")
    from phoneme_moe.cli.transcribe import open_engine
    from phoneme_moe.corpora.lexicon import read_lexicon
    from phoneme_moe.files.writing import write_text
    from phoneme_moe.labels.recordings import read_phonemes
    from phoneme_moe.transcription.align import align_labels, align_phonemes, align_text

    pronunciations = None if lexicon is None else read_lexicon(lexicon)
    if not given:
        beside = _Beside(pronunciations, tier, symbols, channel)
        _align_all(open_engine(run, device), audio, beside, format, out)
        return
    recording = _only_one(audio)
    engine = open_engine(run, device)
    if text is not None and pronunciations is not None:
        alignment = align_text(engine, recording, text, pronunciations, channel, symbols)
    elif textgrid is not None:
        labels = read_phonemes(textgrid, tier)
        alignment = align_labels(engine, recording, labels, channel, symbols)
    else:
        alignment = align_phonemes(engine, recording, (phonemes or "").split(), channel, symbols)
    written = alignment_text(alignment, format)
    if out is None:
        sys.stdout.write(written)
    else:
        write_text(out, written)
        print_line(out)


def _only_one(audio: Sequence[Path]) -> Path:
    """The recording that the phonemes or the text belong to."""
    from phoneme_moe.audio.finding import find_audio

    files = find_audio(audio)
    if len(files) != 1:
        raise InputError(
            f"align: found {len(files)} recordings, expected one with --phonemes, --text or "
            "--textgrid; without them, each has its labels beside it"
        )
    return files[0]


class _Beside(NamedTuple):
    """How the labels beside recordings are understood."""

    lexicon: Lexicon | None
    tier: str | None
    symbols: str | None
    channel: int | None


def _align_all(
    engine: Engine, audio: Sequence[Path], beside: _Beside, format: str, out: Path | None
) -> None:
    """Aligns recordings with their labels; unusable ones are reported and skipped."""
    from phoneme_moe.system.progress import progress_bar
    from phoneme_moe.transcription.align_files import align_files
    from phoneme_moe.transcription.transcribe import Failure

    failures: list[InputError] = []

    def fail(error: InputError) -> None:
        failures.append(error)
        print_error(error_line(error))

    files = found_audio(audio, fail)
    write = _to_stream(format) if out is None else _to_folder(format, out, files, audio)
    num_files = len(files) + len(failures)
    with progress_bar("aligning", len(files)) as advance:
        for result in align_files(engine, files, *beside):
            advance()
            if isinstance(result, Failure):
                fail(result.error)
            else:
                write(result)
    if failures:
        if num_files > 1:
            print_error(f"phoneme-moe: {len(failures)} of {num_files} files failed")
        raise typer.Exit(1)


def _to_stream(format: str) -> Callable[[Alignment], None]:
    """Writes alignments one after the other: tables under the names of their recordings."""
    is_first = True

    def write(alignment: Alignment) -> None:
        nonlocal is_first
        written = alignment_text(alignment, format)
        if format == "table":
            if not is_first:
                print_line()
            print_line(alignment.transcript.path)
        elif format == "csv" and not is_first:
            _, _, written = written.partition("\n")  # the header stands above
        sys.stdout.write(written)
        sys.stdout.flush()
        is_first = False

    return write


def _to_folder(
    format: str, out: Path, files: Sequence[Path], audio: Sequence[Path]
) -> Callable[[Alignment], None]:
    """Writes a file per alignment, named as by ``transcribe --out``."""
    from phoneme_moe.audio.finding import name_below
    from phoneme_moe.files.writing import write_text
    from phoneme_moe.transcription.writers.output_folder import OutputFolder

    folder, given = OutputFolder(out), set(audio)
    names = {file: name_below(file, given) for file in files}
    suffix = FORMATS["txt" if format == "table" else format].suffix

    def write(alignment: Alignment) -> None:
        recording = alignment.transcript.path
        (path,) = folder.claim(recording, names[recording], [suffix])
        write_text(path, alignment_text(alignment, format))
        print_line(path)

    return write
