"""The routing report of a run folder: collects, counts, asks what if, writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.examples import Example, load_examples, load_waveforms
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.decoding.scoring import UtteranceScore
from phoneme_moe.report.caveats import what_is_missing
from phoneme_moe.report.collect.observe import Observation, observe, phoneme_names
from phoneme_moe.report.contribution import contribution_of
from phoneme_moe.report.document import means_of
from phoneme_moe.report.history import training_history
from phoneme_moe.report.layers import LayerTally
from phoneme_moe.report.price import price_of
from phoneme_moe.report.routing_sums import RoutingAccumulator
from phoneme_moe.report.specialisation import Specialisation, specialise
from phoneme_moe.report.statistics import RoutingReport, Unit, summarize
from phoneme_moe.report.utterance_views import audio_file, brief, choose, view
from phoneme_moe.report.verdict import verdict
from phoneme_moe.run_folder import LoadedRun

Progress = Callable[[str], None]


@dataclass(frozen=True)
class RunReport:
    """A written report.

    Attributes:
        report: The means.
        document: All of it, as ``routing.json`` has it.
        files: What was written.
    """

    report: RoutingReport
    document: dict[str, Any]
    files: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class _Pass:
    """What one pass over a split leaves."""

    report: RoutingReport
    specialisation: Specialisation
    scores: dict[str, UtteranceScore]
    shown: list[tuple[str, str]]
    layers: dict[str, Any] | None


def report_run(
    run: LoadedRun,
    split: str = "test",
    out: Path | None = None,
    corpus_name: str | None = None,
    layer: str | None = None,
    utterances: Sequence[str] = (),
    progress: Progress = lambda what: None,
) -> RunReport:
    """Collects the routing of a split and writes the report.

    Args:
        run: The run.
        split: ``train``, ``dev`` or ``test``.
        out: Where to write; ``report`` in the run folder when left out.
        corpus_name: Another prepared corpus than the run's own.
        layer: A sparse layer of an encoder; its last one when left out.
        utterances: Identifiers of utterances to show in time, besides those that are chosen.
        progress: Told what begins.

    Raises:
        InputError: The corpus is not prepared, or has nothing that the run can use; or the run has
            no such layer, or the split no such utterance.
    """
    from phoneme_moe.report.files import write_report

    corpus = load_corpus(corpus_name or run.recipe.corpus.name)
    recognizer = run.recognizer
    layer, _ = recognizer.routed_layer(layer)
    progress("reading recordings")
    speakers = split_speakers(run.recipe, corpus, recognizer)
    examples = load_examples(run.recipe, corpus, split, recognizer, speakers)
    folder = out or run.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    progress("asking the model")
    found = _pass(run, examples, layer, folder / "routing.parquet", utterances, progress)
    progress("asking what each expert is worth")
    contribution = contribution_of(recognizer, examples, found.scores, layer)
    facts = {
        "recipe": run.recipe.name,
        "corpus": corpus.name,
        "split": split,
        "task": run.recipe.task.kind,
        **({} if layer is None else {"layer": layer}),
    }
    title = f"Who routes where: {run.recipe.name}"
    progress("drawing")
    views, audio = _views(run, corpus, split, examples, layer, found.shown)
    document = means_of(found.report, title, facts) | found.specialisation.to_json()
    document["contribution"] = contribution.to_json(found.report.speakers, document.pop("credit"))
    document |= {
        "utterances": views,
        "training": training_history(run.folder / "metrics.csv"),
        "layers": found.layers,
        "cost": price_of(recognizer),
    }
    document["missing"] = what_is_missing(document, recognizer, contribution, examples)
    document["verdict"] = verdict(found.report, document)
    written = write_report(found.report, document, folder, audio)
    return RunReport(found.report, document, (*written, folder / "routing.parquet"))


def _pass(
    run: LoadedRun,
    examples: Sequence[Example],
    layer: str | None,
    table: Path,
    utterances: Sequence[str],
    progress: Progress,
) -> _Pass:
    """Everything that is counted in one pass over the split; no frame is kept."""
    from phoneme_moe.report.collect.parquet import RoutingParquet

    recognizer = run.recognizer
    _, experts = recognizer.routed_layer(layer)
    phonemes = phoneme_names(recognizer, examples)
    tally, layers = RoutingAccumulator(experts, phonemes), LayerTally()
    scores: dict[str, UtteranceScore] = {}
    briefs = []
    with ExitStack() as stack:
        rows = stack.enter_context(RoutingParquet(table, experts, phonemes, layer))
        for one in observe(recognizer, examples, layer):
            tally.add(one.routing)
            layers.add(one.layers)
            scores[one.example.utterance] = one.score
            briefs.append(brief(one))
            _write(rows, one, layer, experts)
        # Before the table is there: an utterance that is not leaves nothing behind.
        shown = choose(briefs, utterances)
    progress("testing what chance would do")
    accumulated = tally.finish()
    unit: Unit = "token" if run.recipe.task.kind == "classify" else "frame"
    return _Pass(
        summarize(accumulated, unit=unit), specialise(accumulated), scores, shown, layers.to_json()
    )


def _write(rows: Any, one: Observation, layer: str | None, experts: Sequence[str]) -> None:
    """All layers of an utterance, or its gate."""
    from dataclasses import replace

    if not one.layers:
        rows.add(one.routing)
    for name, weights in one.layers.items():
        rows.change_layer(name, [f"expert_{i}" for i in range(weights.shape[1])])
        rows.add(replace(one.routing, weights=weights))


def _views(
    run: LoadedRun,
    corpus: PreparedCorpus,
    split: str,
    examples: Sequence[Example],
    layer: str | None,
    shown: Sequence[tuple[str, str]],
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The chosen utterances in time, with their sound."""
    reasons = dict(shown)
    chosen = [example for example in examples if example.utterance in reasons]
    sounds = load_waveforms(run.recipe, corpus, split, run.recognizer, reasons)
    rate = run.recognizer.log_mel.sample_rate
    views, audio = {}, {}
    for one in observe(run.recognizer, chosen, layer) if chosen else ():
        name = one.example.utterance
        views[name] = view(run.recognizer, one, sounds[name], reasons[name])
        audio[name] = audio_file(sounds[name], rate)
    return [views[name] for name, _ in shown], audio
