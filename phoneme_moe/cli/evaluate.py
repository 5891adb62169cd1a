"""``phoneme-moe evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.options import Beam, GateFrom, OnlyExpert, OverrideLayer, WithoutExpert


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    corpus: Annotated[
        str | None, typer.Option(help="Another prepared corpus than the run's own.")
    ] = None,
    beam: Beam = None,
    only_expert: OnlyExpert = None,
    without_expert: WithoutExpert = None,
    gate_from: GateFrom = None,
    layer: OverrideLayer = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Score a run: phoneme error rate or accuracy, overall and for each speaker.

    With a beam, or other experts than the run would ask, the change from the run as it is comes
    after the table, with its interval.
    """
    from rich.console import Console

    from phoneme_moe.cli.tables import print_change, print_evaluation
    from phoneme_moe.evaluation.errors import evaluate as evaluate_run
    from phoneme_moe.routing_override import named_override
    from phoneme_moe.run_folder import load_run

    loaded = load_run(run, device)
    asked = named_override(loaded, only_expert, without_expert, gate_from, layer)
    evaluation = evaluate_run(loaded, split, corpus, beam=beam, override=asked)
    if json is not None:
        evaluation.save(json)
    console = Console()
    print_evaluation(console, evaluation)
    if (asked is not None or beam is not None) and not loaded.recognizer.gate_is_speaker:
        print_change(console, evaluation, evaluate_run(loaded, split, corpus))
