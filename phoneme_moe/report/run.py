"""The routing report of a run folder: observation, statistics, ablation and writing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.examples import Example, load_examples, load_waveforms
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.decoding.scoring import UtteranceScore
from phoneme_moe.errors import ArgumentError
from phoneme_moe.files.atomic import atomic_path
from phoneme_moe.files.locks import lock_folder
from phoneme_moe.model.cost import model_cost
from phoneme_moe.recipe.router import numbered_experts
from phoneme_moe.report.build_document import build_document, report_of
from phoneme_moe.report.caveats import caveats
from phoneme_moe.report.clips.run import clips_of_cells
from phoneme_moe.report.collect.observe import Observation, observe, phoneme_names
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.document_parts import SparseLayers, UtteranceView
from phoneme_moe.report.expert_ablation import ablate_experts
from phoneme_moe.report.history import training_history
from phoneme_moe.report.layers import LayerAccumulator
from phoneme_moe.report.page.cell_links import CLIPS, Cells
from phoneme_moe.report.routing_sums import RoutingAccumulator, RoutingSums
from phoneme_moe.report.specialisation import specialise
from phoneme_moe.report.statistics import RoutingReport, summarize
from phoneme_moe.report.stored import stored_document
from phoneme_moe.report.utterance_views import (
    Reason,
    audio_file,
    choose_utterances,
    summarize_utterance,
    view,
)
from phoneme_moe.report.verdict import verdict
from phoneme_moe.run_folder import LoadedRun

if TYPE_CHECKING:
    from phoneme_moe.report.collect.parquet import RoutingParquet
    from phoneme_moe.report.paper.style import PaperStyle

Progress = Callable[[str], None]


@dataclass(frozen=True)
class RunReport:
    """A written report.

    Attributes:
        report: The statistics.
        document: The content of ``routing.json``.
        files: Paths of the written files by name.
    """

    report: RoutingReport
    document: RoutingDocument
    files: tuple[Path, ...]

    def save_figures(
        self,
        folder: str | Path,
        style: PaperStyle | None = None,
        progress: Progress = lambda stage: None,
    ) -> list[Path]:
        """Writes every figure of the page as a file for a paper, and their captions.

        Args:
            folder: Where to, created if missing.
            style: Format, width and font size, as ``paper_style`` makes it; SVG of 84 mm with text
                of 8 points by default.
            progress: Called with the name of each step.

        Returns:
            The written files.

        Raises:
            InputError: The folder is a file, or another process is writing to it.
        """
        # Imported here, since matplotlib is slow to import.
        from phoneme_moe.report.paper.figures import report_figures, write_figures

        document = self.document.model_dump(mode="json")
        return write_figures(report_figures(document), Path(folder), style, progress)

    def _repr_html_(self) -> str:
        """The findings and the heat map of speakers and experts, for notebooks."""
        sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.document.verdict)
        picture = next(file for file in self.files if file.suffix == ".svg")
        svg = picture.read_text(encoding="utf-8")
        return sentences + svg[svg.index("<svg") :]


def report_run(
    run: LoadedRun,
    split: str = "test",
    out: str | Path | None = None,
    corpus_name: str | None = None,
    layer: str | None = None,
    utterances: Sequence[str] = (),
    progress: Progress = lambda stage: None,
    clips: int = 0,
) -> RunReport:
    """Collects the routing of a split and writes the report.

    If the corpora of an exported run are not prepared, its stored report is written instead.

    Args:
        run: The run.
        split: ``train``, ``dev`` or ``test``.
        out: Output folder; by default ``report`` in the run folder (``results/NAME`` for a shipped
            model).
        corpus_name: A prepared corpus; by default the run's own.
        layer: A sparse layer of an encoder; by default the last one.
        utterances: Identifiers of additional utterances to show over time.
        progress: Called with the name of each step.
        clips: Number of clips for each cell of the heat maps, which the page then opens; none by
            default.

    Raises:
        InputError: The corpus is not prepared or has no usable utterance, there is no such layer or
            utterance, or there are no clips of a stored report.
    """
    from phoneme_moe.report.files import write_report

    folder = Path(out or run.output_folder / "report")
    if (split, corpus_name, layer, *utterances) == ("test", None, None):
        stored = stored_document(run)
        if stored is not None:
            if clips:
                raise ArgumentError("clips", "the corpora of the run are not prepared here")
            report = report_of(stored)
            with lock_folder(folder):
                return RunReport(report, stored, tuple(write_report(report, stored, folder)))
    corpus = load_corpus(corpus_name or run.recipe.corpus.name)
    recognizer = run.recognizer
    layer, _ = recognizer.routed_layer(layer)
    progress("reading recordings")
    speakers = split_speakers(run.recipe, corpus, recognizer)
    examples = load_examples(run.recipe, corpus, split, recognizer, speakers)
    table = folder / "routing.parquet"
    with lock_folder(folder), atomic_path(table) as written_table:
        # Renamed at the end, so that the table never belongs to another report than the page.
        progress("recognising")
        observed = _observe_split(run, examples, layer, written_table, utterances)
        progress("testing significance")
        unit = "token" if run.recipe.task.kind == "classify" else "frame"
        report = summarize(observed.sums, unit=unit)
        specialisation = specialise(observed.sums)
        progress("ablating experts")
        ablations = ablate_experts(recognizer, examples, observed.scores, layer)
        progress("drawing")
        views, audio = _views(run, corpus, split, examples, layer, observed.shown)
        document = build_document(
            report,
            specialisation,
            ablations,
            model_cost(recognizer),
            title=f"Routing of {run.recipe.name}",
            facts={
                "recipe": run.recipe.name,
                "corpus": corpus.name,
                "split": split,
                "task": run.recipe.task.kind,
                **({} if layer is None else {"layer": layer}),
            },
            utterances=views,
            training=training_history(run.folder / "metrics.csv"),
            layers=observed.layers,
        )
        document = document.model_copy(
            update={
                "missing": caveats(document, recognizer, examples, ablations.refusal),
                "verdict": verdict(report, document),
            }
        )
        cells: Cells = ()
        if clips:
            progress("cutting clips")
            cells = clips_of_cells(run, corpus, split, examples, layer, folder / CLIPS, clips)
        written = write_report(report, document, folder, audio, cells)
        if clips:
            written.append(folder / CLIPS / "index.html")
    return RunReport(report, document, (*written, table))


@dataclass(frozen=True, eq=False)
class _ObservedSplit:
    """Results of one pass over a split, without its frames."""

    sums: RoutingSums
    scores: Mapping[str, UtteranceScore]
    shown: Sequence[tuple[str, Reason]]
    layers: SparseLayers | None


def _observe_split(
    run: LoadedRun,
    examples: Sequence[Example],
    layer: str | None,
    table: Path,
    utterances: Sequence[str],
) -> _ObservedSplit:
    """Accumulates the statistics of a split and writes every frame to a Parquet table."""
    from phoneme_moe.report.collect.parquet import RoutingParquet

    recognizer = run.recognizer
    _, experts = recognizer.routed_layer(layer)
    phonemes = phoneme_names(recognizer, examples)
    accumulator, layers = RoutingAccumulator(experts, phonemes), LayerAccumulator()
    scores, summaries = {}, []
    with ExitStack() as stack:
        rows = stack.enter_context(RoutingParquet(table, experts, phonemes, layer))
        for observation in observe(recognizer, examples, layer):
            accumulator.add(observation.routing)
            layers.add(observation.layers)
            scores[observation.example.utterance] = observation.score
            summaries.append(summarize_utterance(observation))
            _write_rows(rows, observation)
        # Inside the block, so that an unknown utterance leaves no table behind.
        shown = choose_utterances(summaries, utterances)
    return _ObservedSplit(accumulator.finish(), scores, shown, layers.finish())


def _write_rows(rows: RoutingParquet, observation: Observation) -> None:
    """Writes the routing of all layers of an utterance, or of the gate."""
    if not observation.layers:
        rows.add(observation.routing)
    for name, weights in observation.layers.items():
        rows.change_layer(name, numbered_experts(weights.shape[1]))
        rows.add(replace(observation.routing, weights=weights))


def _views(
    run: LoadedRun,
    corpus: PreparedCorpus,
    split: str,
    examples: Sequence[Example],
    layer: str | None,
    shown: Sequence[tuple[str, Reason]],
) -> tuple[list[UtteranceView], dict[str, bytes]]:
    """The selected utterances over time, and their audio files by identifier."""
    reasons = dict(shown)
    chosen = [example for example in examples if example.utterance in reasons]
    waveforms = load_waveforms(run.recipe, corpus, split, run.recognizer, reasons)
    rate = run.recognizer.front_end.sample_rate
    views, audio = {}, {}
    for observation in observe(run.recognizer, chosen, layer) if chosen else ():
        name = observation.example.utterance
        views[name] = view(run.recognizer, observation, waveforms[name], reasons[name])
        audio[name] = audio_file(waveforms[name], rate)
    return [views[name] for name, _ in shown], audio
