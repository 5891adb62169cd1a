"""``phoneme-moe adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.completion import run_names


def adapt(
    run: Annotated[
        Path,
        typer.Argument(help="Run folder or shipped model with a gate.", autocompletion=run_names),
    ],
    folder: Annotated[
        Path, typer.Argument(help="Folder of recordings, each with a TextGrid, .lab or .txt.")
    ],
    speaker: Annotated[str, typer.Option(help="Name of the new speaker.")],
    out: Annotated[Path, typer.Option(help="New run folder.")],
    gate_only: Annotated[
        bool, typer.Option("--gate-only", help="Train only the gate (default).")
    ] = False,
    new_expert: Annotated[
        bool, typer.Option("--new-expert", help="Also train a new expert for the speaker.")
    ] = False,
    lexicon: Annotated[
        Path | None, typer.Option(help="Pronunciations, if the labels are words.")
    ] = None,
    tier: Annotated[
        str | None, typer.Option(help="Tier of TextGrids.", show_default="phones, words or so")
    ] = None,
) -> None:
    """Adapt a run to a new speaker from a few utterances.

    A third of the utterances are held out to measure the improvement.
    """
    from phoneme_moe.errors import InputError
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.console import PlainConsole
    from phoneme_moe.training.adapt import adapt as adapt_run

    if gate_only and new_expert:
        raise InputError("adapt: expected --gate-only or --new-expert, not both")
    adaptation = adapt_run(
        load_run(run), speaker, folder, out, "expert" if new_expert else "gate", lexicon, tier
    )
    low, high = (100 * value for value in adaptation.interval)
    console = PlainConsole(highlight=False, soft_wrap=True)
    console.print(
        f"{speaker}: adapted on {adaptation.learned} utterances, evaluated on "
        f"{adaptation.held_out} held-out ones"
    )
    console.print(
        f"PER before {100 * adaptation.before:.2f} %, after {100 * adaptation.after:.2f} %, change "
        f"{100 * (adaptation.after - adaptation.before):+.2f} points ({low:+.2f} to {high:+.2f})"
    )
    if adaptation.old_before is not None and adaptation.old_after is not None:
        console.print(
            f"old speakers on test: before {100 * adaptation.old_before:.2f} %, after "
            f"{100 * adaptation.old_after:.2f} %"
        )
    blend = sorted(adaptation.blend.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {100 * weight:.0f} %" for name, weight in blend if weight >= 0.01)
    console.print(f"mean expert weights: {shown}")
    if not adaptation.pays:
        console.print(f"No improvement: {run} is at least as good for {speaker}.")
    console.print(f"run: {out}")
