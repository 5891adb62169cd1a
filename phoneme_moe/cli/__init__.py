"""The command line: one small file per command; heavy imports live inside the commands."""

from __future__ import annotations

import re
import sys

import typer

from phoneme_moe.cli import (
    adapt,
    align,
    bench,
    clips,
    compare,
    corpora,
    evaluate,
    export,
    grow,
    listen,
    model,
    report,
    reproduce,
    train,
    transcribe,
)
from phoneme_moe.errors import ArgumentError, InputError

_OPTIONS = {"changes": "set", "source": "from", "as_name": "as"}
"""Options whose names Python reserves or uses otherwise, by argument."""

app = typer.Typer(
    name="phoneme-moe",
    help="Phoneme recognition with speaker experts behind a learned gate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("grow")(grow.grow)
app.command("adapt")(adapt.adapt)
app.command("evaluate")(evaluate.evaluate)
app.command("transcribe")(transcribe.transcribe)
app.command("align")(align.align)
app.command("listen")(listen.listen)
app.command("bench")(bench.bench)
app.command("export")(export.export)
app.command("model")(model.model)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("clips")(clips.clips)
app.command("reproduce")(reproduce.reproduce)
app.add_typer(corpora.app, name="corpora")


def _option(argument: str) -> str:
    """The command's option for an argument of a library function."""
    return "--" + _OPTIONS.get(argument, argument).replace("_", "-")


def _options(problem: str) -> str:
    """A library's message with ``resume=True`` as ``--resume`` and ``beam=N`` as ``--beam N``."""
    return re.sub(
        r"\b([a-z_]+)=(True|[A-Z]+)\b",
        lambda found: _option(found[1]) + ("" if found[2] == "True" else f" {found[2]}"),
        problem,
    )


def main() -> None:
    """Runs the application; turns what the user gave wrongly into one line and exit status 1."""
    try:
        app()
    except ArgumentError as error:
        print(f"phoneme-moe: {_option(error.argument)}: {_options(error.problem)}", file=sys.stderr)
        sys.exit(1)
    except InputError as error:
        print(f"phoneme-moe: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has gone, as head does.
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        place = error.filename or "output"
        print(f"phoneme-moe: {place}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
