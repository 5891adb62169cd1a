"""``phoneme-moe evaluate``."""

from __future__ import annotations

from phoneme_moe.cli.options import (
    Beam,
    Best,
    Device,
    FiguresFile,
    GateFrom,
    OnlyExpert,
    OtherCorpus,
    OverrideLayer,
    RunFolder,
    Split,
    WithoutExpert,
)


def evaluate(
    run: RunFolder,
    split: Split = "test",
    corpus: OtherCorpus = None,
    beam: Beam = None,
    best: Best = False,
    only_expert: OnlyExpert = None,
    without_expert: WithoutExpert = None,
    gate_from: GateFrom = None,
    layer: OverrideLayer = None,
    json: FiguresFile = None,
    device: Device = "auto",
) -> None:
    """Evaluate a run: phoneme error rate (for tokens, accuracy), overall and by speaker.

    With --beam, --best or options that override the routing, also prints the
    change from the run without them, with its 95 % interval.
    """
    from phoneme_moe.cli.tables import print_change, print_evaluation
    from phoneme_moe.evaluation.errors import evaluate as evaluate_run
    from phoneme_moe.routing_override import named_override
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.console import PlainConsole

    loaded = load_run(run, device)
    override = named_override(loaded, only_expert, without_expert, gate_from, layer)
    evaluation = evaluate_run(loaded, split, corpus, beam=beam, override=override, best=best)
    if json is not None:
        evaluation.save(json)
    console = PlainConsole()
    print_evaluation(console, evaluation)
    if (override is not None or beam is not None or best) and not loaded.recognizer.gate_is_speaker:
        print_change(console, evaluation, evaluate_run(loaded, split, corpus))
