"""``phoneme-moe evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    corpus: Annotated[
        str | None, typer.Option(help="Another prepared corpus than the run's own.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Score a run: phoneme error rate or accuracy, overall and for each speaker."""
    from rich.console import Console

    from phoneme_moe.cli.tables import print_evaluation
    from phoneme_moe.evaluation import evaluate as evaluate_run
    from phoneme_moe.run import load_run

    evaluation = evaluate_run(load_run(run, device), split, corpus)
    if json is not None:
        evaluation.save(json)
    print_evaluation(Console(), evaluation)
