"""``phoneme-moe reproduce``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from phoneme_moe.reproduce.runner import Reproduction


def reproduce(
    name: Annotated[str, typer.Argument(help="An experiment, or list.")],
    seeds: Annotated[
        int | None, typer.Option(help="Runs of each system.", show_default="the experiment's")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes.", show_default="one per processor")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results.", show_default="reproductions/NAME")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute, fewer runs.")] = False,
) -> None:
    """Do a published experiment again; print its figures and ours side by side."""
    from phoneme_moe.reproduce import EXPERIMENTS, load_experiment

    if name == "list":
        width = max(map(len, EXPERIMENTS))
        for known, line in EXPERIMENTS.items():
            typer.echo(f"{known:<{width}}  {line}")
        return
    load_experiment(name)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from phoneme_moe.cli.tables import progress_console
    from phoneme_moe.reproduce.runner import reproduce as run_experiment

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=progress_console(), transient=True) as bar:
        task = bar.add_task(name)
        try:
            found = run_experiment(
                name,
                out,
                seeds=seeds,
                jobs=jobs,
                quick=quick,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except KeyboardInterrupt:
            bar.stop()
            again = shlex.join(["phoneme-moe", *sys.argv[1:]])
            print(f"interrupted; what is done is kept; go on with: {again}", file=sys.stderr)
            raise typer.Exit(130) from None
    _print(found)


def _print(found: Reproduction) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from phoneme_moe.cli.tables import print_files
    from phoneme_moe.reproduce.files import cell_text

    console = Console()
    console.print(found.experiment.paper, highlight=False)
    for table in found.outcome.tables:
        console.print(f"\n{table.title}", highlight=False)
        # A system a block: as many columns side by side fit no terminal of 80 characters.
        shown = Table(box=None, pad_edge=False)
        shown.add_column(table.columns[0], no_wrap=True)
        for row in table.rows:
            shown.add_column(str(row[0]), justify="right")
        for index, heading in enumerate(table.columns[1:], 1):
            cells = (cell_text(row[index], table.digits) for row in table.rows)
            shown.add_row(heading, *(cell.replace(" ± ", "±") for cell in cells))
        console.print(shown)
    console.print()
    for claim in found.outcome.claims:
        mark = Text("holds    ", "green") if claim.holds else Text("does not ", "bold red")
        console.print(mark + Text(f"{claim.statement}"))
        console.print(Text(f"         published {claim.published}; here {claim.reproduced}", "dim"))
    print_files(console, {path.suffix[1:]: path for path in found.files})
