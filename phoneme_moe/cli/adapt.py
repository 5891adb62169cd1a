"""``phoneme-moe adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def adapt(
    run: Annotated[Path, typer.Argument(help="A run folder: experts behind a gate.")],
    folder: Annotated[
        Path, typer.Argument(help="Recordings, each beside NAME.txt with its phonemes.")
    ],
    speaker: Annotated[str, typer.Option(help="Name of the new speaker.")],
    out: Annotated[Path, typer.Option(help="The new run folder.")],
    gate_only: Annotated[
        bool, typer.Option("--gate-only", help="The gate learns whom to ask (the usual).")
    ] = False,
    new_expert: Annotated[
        bool, typer.Option("--new-expert", help="The speaker gets an expert too.")
    ] = False,
    lexicon: Annotated[
        Path | None, typer.Option(help="Pronunciations, where the text files have words.")
    ] = None,
) -> None:
    """Adapt a run to a speaker from a few utterances, a third of them held out to measure it."""
    from rich.console import Console

    from phoneme_moe.errors import InputError
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.training.adapt import adapt as adapt_run

    if gate_only and new_expert:
        raise InputError("adapt: expected --gate-only or --new-expert, not both")
    found = adapt_run(
        load_run(run), speaker, folder, out, "expert" if new_expert else "gate", lexicon
    )
    low, high = (100 * value for value in found.interval)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{speaker}: learned from {found.learned} utterances, measured on {found.held_out} others"
    )
    console.print(
        f"PER before {100 * found.before:.2f} %, after {100 * found.after:.2f} %, change "
        f"{100 * (found.after - found.before):+.2f} points ({low:+.2f} to {high:+.2f})"
    )
    if found.old_before is not None and found.old_after is not None:
        console.print(
            f"old speakers on test: before {100 * found.old_before:.2f} %, after "
            f"{100 * found.old_after:.2f} %"
        )
    blend = sorted(found.blend.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {100 * weight:.0f} %" for name, weight in blend if weight >= 0.01)
    console.print(f"experts asked: {shown}")
    if not found.pays:
        console.print(f"It did not pay: {run} is as good for {speaker} or better.")
    console.print(f"run: {out}")
