"""Arguments and options shared by several commands, and error messages that name options."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.completion import (
    device_names,
    expert_list,
    gate_sources,
    notation_names,
    prepared_corpus_names,
    run_names,
    split_names,
    tracker_names,
)
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.system.terminal import print_error

RunFolder = Annotated[
    Path, typer.Argument(help="Run folder or shipped model.", autocompletion=run_names)
]
RunOrOnnx = Annotated[
    Path,
    typer.Argument(
        help="Run folder, shipped model, or a model exported as .onnx.", autocompletion=run_names
    ),
]
Split = Annotated[str, typer.Option(help="train, dev or test.", autocompletion=split_names)]
OtherCorpus = Annotated[
    str | None,
    typer.Option(
        help="A prepared corpus.",
        show_default="the run's own",
        autocompletion=prepared_corpus_names,
    ),
]
Layer = Annotated[
    str | None, typer.Option(help="A sparse layer, such as block_2.", show_default="the last one")
]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.", autocompletion=device_names)]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Number of threads.", show_default="one per usable core")
]
Channel = Annotated[
    int | None,
    typer.Option(min=1, help="Use this channel, from 1.", show_default="the mean of all"),
]
FiguresFile = Annotated[Path | None, typer.Option(help="Also write the results to this file.")]
Beam = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Beam width of a search with the run's n-gram; 0 for greedy decoding.",
        show_default="the run's",
    ),
]
Best = Annotated[
    bool,
    typer.Option("--best", help="Slow search with the fewest errors: wide beam, several passes."),
]
Symbols = Annotated[
    str | None,
    typer.Option(
        metavar="NOTATION|FILE",
        help="Phonemes in arpabet, ipa, xsampa, or by your own table: a phoneme and its symbol "
        "per line.",
        show_default="as in the corpus",
        autocompletion=notation_names,
    ),
]
OnlyExpert = Annotated[
    str | None,
    typer.Option(
        help="Route to these experts only (names separated by commas).", autocompletion=expert_list
    ),
]
WithoutExpert = Annotated[
    str | None,
    typer.Option(
        help="Exclude these experts (names separated by commas).", autocompletion=expert_list
    ),
]
GateFrom = Annotated[
    str | None,
    typer.Option(
        help="Fix expert weights to this speaker's mean, or to uniform.",
        autocompletion=gate_sources,
    ),
]
OverrideLayer = Annotated[
    str | None,
    typer.Option(
        help="Sparse layer whose routing these options override.", show_default="all layers"
    ),
]


Loggers = Annotated[
    list[str] | None,
    typer.Option(
        "--logger",
        metavar="NAME",
        help="Also log to wandb or mlflow, if installed (repeatable).",
        autocompletion=tracker_names,
    ),
]


def named_path(text: str) -> Path:
    """A non-empty path: an unset shell variable would otherwise mean the current folder.

    Raises:
        typer.BadParameter: The path is empty.
    """
    if not text:
        raise typer.BadParameter(
            "found an empty name, expected an audio file, a folder, a pattern or -"
        )
    return Path(text)


def transcript_format(name: str) -> str:
    """The name of a format of transcripts, or ``all``.

    Raises:
        typer.BadParameter: There is no such format.
    """
    from phoneme_moe.transcription.formats import FORMATS

    return _known_format(name, [*FORMATS, "all"])


def alignment_format(name: str) -> str:
    """The name of a format of alignments.

    Raises:
        typer.BadParameter: There is no such format.
    """
    from phoneme_moe.transcription.formats import alignment_formats

    return _known_format(name, alignment_formats())


def _known_format(name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise typer.BadParameter(f"found {name!r}, expected one of {', '.join(known)}")
    return name


def found_audio(audio: Sequence[Path], on_error: Callable[[InputError], None]) -> list[Path]:
    """The recordings that the user means; says which files of folders are left out.

    Args:
        audio: Files, folders and patterns.
        on_error: As for ``find_audio``.
    """
    from phoneme_moe.audio.finding import find_audio, raw_files

    raw = raw_files(audio)
    if raw:
        more = f" (and {len(raw) - 1} more)" if len(raw) > 1 else ""
        print_error(f"phoneme-moe: {raw[0]}{more}: left out, raw samples have no header")
    return find_audio(audio, on_error)


def error_line(error: InputError) -> str:
    """The message to print, with options in place of arguments."""
    if isinstance(error, ArgumentError):
        return f"phoneme-moe: {_option(error.argument)}: {_options(error.problem)}"
    return f"phoneme-moe: {error}"


_OPTIONS = {"changes": "set", "source": "from", "as_name": "as", "loggers": "logger"}
"""Options by argument, where their names differ because Python reserves or shadows them."""


def _option(argument: str) -> str:
    """The command's option for an argument of a library function."""
    return "--" + _OPTIONS.get(argument, argument).replace("_", "-")


def _options(problem: str) -> str:
    """Converts ``resume=True`` in a message to ``--resume`` and ``beam=N`` to ``--beam N``."""
    return re.sub(
        r"\b([a-z_]+)=(True|[A-Z]+)\b",
        lambda named: _option(named[1]) + ("" if named[2] == "True" else f" {named[2]}"),
        problem,
    )
