"""``phoneme-moe reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from phoneme_moe.cli.completion import Names, beginning

if TYPE_CHECKING:
    from rich.console import Console

    from phoneme_moe_reproductions.results import Table
    from phoneme_moe_reproductions.runner import Reproduction


def _experiment_names(incomplete: str) -> Names:
    from phoneme_moe_reproductions import EXPERIMENTS

    lines = {name: experiment.description for name, experiment in EXPERIMENTS.items()}
    yield from beginning(incomplete, {"list": "show all", **lines})


def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of an experiment, or list to show all.", autocompletion=_experiment_names
        ),
    ],
    seeds: Annotated[
        int | None,
        typer.Option(help="Number of runs of each system.", show_default="the experiment's"),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Number of processes.", show_default="one per usable core")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder.", show_default="reproductions/NAME")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run a short version, in under a minute.")
    ] = False,
) -> None:
    """Reproduce a published experiment and print published and reproduced results."""
    from phoneme_moe_reproductions import EXPERIMENTS, load_experiment

    if name == "list":
        width = max(map(len, EXPERIMENTS))
        for known, experiment in EXPERIMENTS.items():
            typer.echo(f"{known:<{width}}  {experiment.description}")
        return
    load_experiment(name)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from phoneme_moe.cli.tables import progress_console
    from phoneme_moe_reproductions.runner import reproduce as run_experiment

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=progress_console(), transient=True) as bar:
        task = bar.add_task(name)
        reproduction = run_experiment(
            name,
            out,
            seeds=seeds,
            jobs=jobs,
            quick=quick,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    _print(reproduction)


def _print(reproduction: Reproduction) -> None:
    from rich.text import Text

    from phoneme_moe.cli.tables import print_files
    from phoneme_moe.system.console import PlainConsole

    console = PlainConsole()
    console.print(reproduction.experiment.description.paper, highlight=False)
    for table in reproduction.outcome.tables:
        console.print(f"\n{table.title}", highlight=False)
        _print_table(console, table)
    console.print()
    for claim in reproduction.outcome.claims:
        mark = Text("holds    ", "green") if claim.holds else Text("does not ", "bold red")
        console.print(mark + Text(f"{claim.statement}"))
        console.print(Text(f"         published {claim.published}; here {claim.reproduced}", "dim"))
    if reproduction.quick:
        console.print(
            "\nThe quick version shows that the experiment runs; it is too short for conclusions."
        )
    print_files(console, {path.name: path for path in reproduction.files})


def _print_table(console: Console, table: Table) -> None:
    """Prints as many columns as fit the terminal side by side, and the rest below."""
    from rich import box
    from rich.table import Table as Grid

    from phoneme_moe_reproductions.results import cell_text

    columns = [
        [cell_text(row[i], table.digits).replace(" ± ", "±") for row in table.rows]
        for i in range(len(table.columns))
    ]
    # Headings may break between words; cells and the first heading may not.
    widths = [
        max(len(part) for part in (*heading.split(), *cells))
        for heading, cells in zip(table.columns, columns, strict=True)
    ]
    widths[0] = max(widths[0], len(table.columns[0]))
    first, rest = 0, list(range(1, len(columns)))
    while rest:
        shown, room = [first], console.width - widths[first]
        while rest and (len(shown) == 1 or room >= widths[rest[0]] + 2):
            room -= widths[rest[0]] + 2
            shown.append(rest.pop(0))
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for i in shown:
            justify: Literal["left", "right"] = "left" if i == first else "right"
            grid.add_column(table.columns[i], justify=justify, vertical="bottom", width=widths[i])
        for row in zip(*(columns[i] for i in shown), strict=True):
            grid.add_row(*row)
        console.print(grid)
        if rest:
            console.print()
