"""The command line: one module per command, with heavy imports inside the commands."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
from phoneme_moe.cli.chatter import silence_libraries
from phoneme_moe.cli.ending import end_in_order
from phoneme_moe.system.terminal import configure_output, print_line, printable

# Newer versions of Typer contain click, and export only some of its exceptions.
_UsageError: Any = typer.BadParameter.__bases__[0]


class _Commands(TyperGroup):
    """The group of all commands."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; a message about its arguments is printable text."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            error.message = printable(error.message)
            if error.message.startswith("No such option"):
                error.message += "; a file name that begins with a dash is written ./-NAME"
            raise


app = typer.Typer(
    name="phoneme-moe",
    cls=_Commands,
    help="Phoneme recognition with speaker experts behind a learned gate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        from phoneme_moe import __version__

        print_line(f"phoneme-moe {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


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


def main() -> None:
    """Runs the application; whatever ends it becomes one line and an exit status."""
    configure_output()
    silence_libraries()
    sys.exit(end_in_order(app))
