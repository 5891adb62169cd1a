"""The command line: one module per command, with heavy imports inside the commands."""

from __future__ import annotations

import sys
from typing import Annotated

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
    merge,
    model,
    recipes,
    report,
    reproduce,
    serve,
    train,
    transcribe,
)
from phoneme_moe.cli.chatter import silence_libraries
from phoneme_moe.cli.ending import end_in_order
from phoneme_moe.cli.plain_help import Command, Group
from phoneme_moe.system.terminal import configure_output, print_line

app = typer.Typer(
    name="phoneme-moe",
    cls=Group,
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


app.command("train", cls=Command)(train.train)
app.command("recipes", cls=Command)(recipes.recipes)
app.command("grow", cls=Command)(grow.grow)
app.command("adapt", cls=Command)(adapt.adapt)
app.command("evaluate", cls=Command)(evaluate.evaluate)
app.command("transcribe", cls=Command)(transcribe.transcribe)
app.command("merge", cls=Command)(merge.merge)
app.command("align", cls=Command)(align.align)
app.command("listen", cls=Command)(listen.listen)
app.command("serve", cls=Command)(serve.serve)
app.command("bench", cls=Command)(bench.bench)
app.command("export", cls=Command)(export.export)
app.command("model", cls=Command)(model.model)
app.command("report", cls=Command)(report.report)
app.command("compare", cls=Command)(compare.compare)
app.command("clips", cls=Command)(clips.clips)
app.command("reproduce", cls=Command)(reproduce.reproduce)
app.add_typer(corpora.app, name="corpora")


def main() -> None:
    """Runs the application; whatever ends it becomes one line and an exit status."""
    configure_output()
    silence_libraries()
    sys.exit(end_in_order(app))
