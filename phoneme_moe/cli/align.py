"""``phoneme-moe align``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.options import Channel, Device, RunOrOnnx
from phoneme_moe.errors import InputError
from phoneme_moe.system.terminal import print_line


class AlignmentFormat(StrEnum):
    """Output formats of an alignment."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    CTM = "ctm"
    TEXTGRID = "textgrid"
    SRT = "srt"
    VTT = "vtt"


def align(
    run: RunOrOnnx,
    audio: Annotated[Path, typer.Argument(help="An audio file, or - for stdin.")],
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
        typer.Option(help="Tier of the TextGrid.", show_default="phonemes, phones or MAU"),
    ] = None,
    format: Annotated[
        AlignmentFormat, typer.Option(help="Output format; table is for the terminal.")
    ] = AlignmentFormat.TABLE,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file.", show_default="stdout")
    ] = None,
    channel: Channel = None,
    device: Device = "auto",
) -> None:
    """Align a recording with known phonemes or words, and score the pronunciation.

    goodness: log likelihood ratio between a phoneme and the best alternative
    (another phoneme, or none) in its place. If negative, the alternative in
    column best fits better.

    With --textgrid, dstart and dend are the differences to its times in ms.
    """
    if [phonemes, text, textgrid].count(None) != 2:
        raise InputError("align: expected one of --phonemes, --textgrid, and --text with --lexicon")
    if tier is not None and textgrid is None:
        raise InputError("align: expected --textgrid with --tier")
    if (text is None) != (lexicon is None):
        raise InputError("align: expected both --text and --lexicon, found only one of them")
    from phoneme_moe.cli.transcribe import open_engine
    from phoneme_moe.corpora.lexicon import read_lexicon
    from phoneme_moe.files.writing import write_text
    from phoneme_moe.labels.recordings import read_phonemes
    from phoneme_moe.transcription.align import align_labels, align_phonemes, align_text
    from phoneme_moe.transcription.writers import ALIGNMENT_FORMATS

    pronunciations = None if lexicon is None else read_lexicon(lexicon)
    engine = open_engine(run, device)
    if text is not None and pronunciations is not None:
        alignment = align_text(engine, audio, text, pronunciations, channel)
    elif textgrid is not None:
        alignment = align_labels(engine, audio, read_phonemes(textgrid, tier), channel)
    else:
        alignment = align_phonemes(engine, audio, (phonemes or "").split(), channel)
    written = ALIGNMENT_FORMATS[format.value](alignment)
    if out is None:
        sys.stdout.write(written)
    else:
        write_text(out, written)
        print_line(out)
