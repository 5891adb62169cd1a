"""``phoneme-moe align``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.errors import InputError


class AlignmentFormat(StrEnum):
    """How an alignment is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    CTM = "ctm"
    TEXTGRID = "textgrid"
    SRT = "srt"
    VTT = "vtt"


def align(
    run: Annotated[Path, typer.Argument(help="A run folder, or a model exported as .onnx.")],
    audio: Annotated[Path, typer.Argument(help="An audio file, or - for stdin.")],
    phonemes: Annotated[str | None, typer.Option(help="What was to be said: 'P EH N'.")] = None,
    text: Annotated[str | None, typer.Option(help="The same as words, with --lexicon.")] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="Pronunciations: WORD  P1 P2 ..., a line each (CMUdict).")
    ] = None,
    format: Annotated[
        AlignmentFormat, typer.Option(help="table is for people.")
    ] = AlignmentFormat.TABLE,
    out: Annotated[Path | None, typer.Option(help="Write to this file.")] = None,
    channel: Annotated[int | None, typer.Option(min=1, help="One channel; else the mean.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Find when each phoneme of a known text was said, how surely, and how well.

    goodness: logarithm of how much likelier the recording is with the phoneme than with the best
    other one, or none, in its place; below 0 something else fits better (best).
    """
    if (phonemes is None) == (text is None):
        raise InputError("align: expected either --phonemes or --text (with --lexicon)")
    if (text is None) != (lexicon is None):
        raise InputError("align: --text and --lexicon belong together")
    from phoneme_moe.cli.transcribe import open_engine
    from phoneme_moe.corpora.lexicon import read_pronunciations
    from phoneme_moe.files import write_text
    from phoneme_moe.transcription.align import align_phonemes, align_text
    from phoneme_moe.transcription.writers import ALIGNMENT_FORMATS

    pronunciations = None if lexicon is None else read_pronunciations(lexicon)
    engine = open_engine(run, device)
    if text is not None and pronunciations is not None:
        found = align_text(engine, audio, text, pronunciations, channel)
    else:
        said = (phonemes or "").split()
        if not said:
            raise InputError("--phonemes: found none, expected at least one")
        found = align_phonemes(engine, audio, said, channel)
    written = ALIGNMENT_FORMATS[format.value](found)
    if out is None:
        sys.stdout.write(written)
    else:
        write_text(out, written)
        print(out)
