"""``phoneme-moe grow``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoneme_moe.cli.completion import run_names
from phoneme_moe.cli.options import Device, Loggers
from phoneme_moe.errors import InputError
from phoneme_moe.system.terminal import printable

if TYPE_CHECKING:
    from rich.table import Table

    from phoneme_moe.model.growth import GrowthDocument
    from phoneme_moe.run_folder import LoadedRun


def grow(
    run: Annotated[
        Path,
        typer.Argument(help="Run folder or shipped model.", autocompletion=run_names),
    ],
    corpus: Annotated[
        str | None,
        typer.Option(help="Prepared corpus of new speech, for which experts are added."),
    ] = None,
    experts: Annotated[
        int | None,
        typer.Option(
            help="Number of experts to add (to each sparse layer).",
            show_default="as many as there are clusters of badly served utterances",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="New run folder.",
            show_default="RUN_grown; runs/RUN_grown for a shipped model",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of epochs of further training.", show_default="10"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Peak learning rate.", show_default="half of the last stage's"),
    ] = None,
    logger: Loggers = None,
    device: Device = "auto",
) -> None:
    """Add experts to a run: for new speech, or to its sparse layers.

    With --corpus, experts are added for the utterances of a corpus that the run
    recognises badly, and only these are trained, with the gate or their part of
    the routers. Without, sparse layers get copies of the experts with the
    greatest load, and the whole run continues training on its own corpus.
    """
    from phoneme_moe.cli.train import run_training
    from phoneme_moe.models import shipped_name
    from phoneme_moe.run_folder import load_run

    if corpus is None and experts is None:
        raise InputError("grow: expected --experts N, or --corpus NAME for new speech")
    # Further training of the whole run moves the model itself.
    loaded = load_run(run, "cpu" if corpus is None else device)
    if out is None:
        shipped = shipped_name(loaded.folder)
        base = run if shipped is None else Path("runs", shipped)
        out = base.with_name(f"{base.resolve().name}_grown")
    if corpus is not None:
        if logger:
            raise InputError("grow: found --logger with --corpus, which has no metrics to log")
        _grow_for_speech(loaded, corpus, experts, out, epochs, learning_rate)
        return
    from phoneme_moe.training.grow import prepare_grown

    assert experts is not None
    recipe = prepare_grown(loaded, out, experts, epochs or 10, learning_rate)
    run_training(recipe, out, True, device, logger or ())


def _grow_for_speech(
    run: LoadedRun,
    corpus: str,
    experts: int | None,
    out: Path,
    epochs: int | None,
    learning_rate: float | None,
) -> None:
    from phoneme_moe.system.console import PlainConsole
    from phoneme_moe.training.new_speech import find_new_speech, grow_for_speech, require_new

    require_new(out)
    speech = find_new_speech(run, corpus, experts)
    console = PlainConsole(highlight=False, soft_wrap=True)
    total, bad = len(speech.train), len(speech.badly_served)
    console.print(
        f"{speech.corpus}: {bad} of {total} training utterances ({100 * bad / total:.0f} %) are "
        f"served badly (below {speech.threshold:.2f} nats per phoneme, as 5 % of the run's own "
        "dev speech)"
    )
    if not speech.is_another_kind:
        console.print("Nothing to add: the run serves this speech about as well as its own.")
        return
    document = grow_for_speech(run, speech, out, epochs, learning_rate)
    console.print()
    console.print(_table_of_changes(document))
    console.print(_table_of_experts(document))
    if document.new.after >= document.new.before:
        console.print(f"No improvement: {run.name} is at least as good for {corpus}.")
    console.print(f"run: {out}")


def _table_of_changes(document: GrowthDocument) -> Table:
    from rich.table import Table

    table = Table("test", "PER before", "after", "change", "95 % interval", "badly served")
    for name, change in (("new", document.new), ("old", document.old)):
        low, high = (100 * value for value in change.interval)
        table.add_row(
            name,
            f"{100 * change.before:.2f}",
            f"{100 * change.after:.2f}",
            f"{100 * (change.after - change.before):+.2f}",
            f"{low:+.2f} to {high:+.2f}",
            f"{change.badly_served_before} > {change.badly_served_after} of {change.utterances}",
        )
    return table


def _table_of_experts(document: GrowthDocument) -> Table:
    """New experts with their share of the routing; those of sparse layers by layer."""
    from rich.table import Table

    table = Table("new expert", "% of new speech", "% of old speech")
    for expert in document.experts:
        name = expert.name if expert.layer is None else f"{expert.layer} {expert.name}"
        table.add_row(printable(name), f"{100 * expert.new:.1f}", f"{100 * expert.old:.1f}")
    return table
