"""Clips of a run: those behind one cell of its report, or some of every cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.errors import ArgumentError, InputError, suggest
from phoneme_moe.report.clips.audio import times_in_recordings
from phoneme_moe.report.clips.find import (
    Clip,
    ClipQuery,
    SearchCounts,
    draw_clips,
    draw_of_cells,
    find_clips,
)
from phoneme_moe.report.clips.folder import PAGE, Shown, check_replaceable, write_clips
from phoneme_moe.report.clips.page import EVENLY
from phoneme_moe.report.page.cell_links import Kind
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.system.progress import track


@dataclass(frozen=True)
class RunClips:
    """A written folder of clips.

    Attributes:
        folder: Path of the folder.
        clips: Its clips, in the order of the page.
        total: Number of clips behind the cell.
        query: Search criteria.
        facts: Run, corpus, split and other properties, name to value.
    """

    folder: Path
    clips: tuple[Clip, ...]
    total: int
    query: ClipQuery
    facts: dict[str, str]

    @property
    def page(self) -> Path:
        """The page to open."""
        return self.folder / PAGE

    @property
    def summary(self) -> list[str]:
        """A summary of the folder in two lines."""
        count = f"{len(self.clips):,}"
        if self.total > len(self.clips):
            count += f" of {self.total:,}"
        speakers = len({clip.speaker for clip in self.clips})
        phonemes = len({clip.phoneme for clip in self.clips})
        wrong = sum(clip.wrong for clip in self.clips)
        return [
            f"{' '.join(self.facts.values())}: {self.query}",
            f"clips {count}, speakers {speakers:,}, phonemes {phonemes:,}, wrong {wrong:,}",
        ]


def clips_of_run(
    run: LoadedRun,
    query: ClipQuery,
    split: str = "test",
    out: str | Path | None = None,
    corpus: str | None = None,
    layer: str | None = None,
    limit: int = 200,
    context_ms: float = 100.0,
    progress: bool = False,
) -> RunClips:
    """Finds the clips behind a cell of the run's report and writes a page that plays them.

    Args:
        run: The run.
        query: Search criteria.
        split: ``train``, ``dev`` or ``test``.
        out: Output folder; by default ``clips`` in the run folder. An earlier folder of clips is
            replaced.
        corpus: A prepared corpus; by default the run's own.
        layer: A sparse layer of an encoder; by default the last one.
        limit: Maximum number of clips; if there are more, they are sampled evenly over speakers and
            utterances.
        context_ms: Milliseconds of audio before and after the phoneme.
        progress: Whether to show a progress bar if stderr is a terminal.

    Raises:
        InputError: The corpus is not prepared, a name is unknown, no clip matches, or the folder
            exists and is not a folder of clips. Nothing is written then.
    """
    folder = Path(out or run.output_folder / "clips")
    check_replaceable(folder)
    prepared = load_corpus(corpus or run.recipe.corpus.name)
    layer, experts = run.recognizer.routed_layer(layer)
    if query.phoneme is not None:
        query = replace(query, phoneme=run.recognizer.phonemes.spell([query.phoneme])[0])
    _check_names(run, prepared, query, experts)
    if query.speaker is not None:
        speakers: tuple[str, ...] = (query.speaker,)
    else:
        speakers = split_speakers(run.recipe, prepared, run.recognizer)
    examples = load_examples(run.recipe, prepared, split, run.recognizer, speakers)
    counts = SearchCounts()
    each = find_clips(run.recognizer, examples, query, layer, counts)
    matches = list(
        chain.from_iterable(track(each, "searching for clips", progress, total=len(examples)))
    )
    if not matches:
        raise InputError(
            f"no clip of {prepared.name} {split} matches {query} "
            f"({counts.phonemes:,} phonemes searched)"
        )
    clips = draw_clips(matches, limit)
    found = _Found(run, examples, counts, layer, query, len(matches))
    clips, facts = found.write(folder, clips, prepared, split, context_ms, progress=progress)
    return RunClips(folder, tuple(clips), len(matches), query, facts)


def clips_of_cells(
    run: LoadedRun,
    corpus: PreparedCorpus,
    split: str,
    examples: Sequence[Example],
    layer: str | None,
    folder: Path,
    per_cell: int,
    context_ms: float = 100.0,
) -> set[tuple[Kind, str, str]]:
    """Writes clips of every cell of a report's heat maps into one folder.

    Args:
        run: The run.
        corpus: The corpus.
        split: ``train``, ``dev`` or ``test``.
        examples: The examples of the split.
        layer: A sparse layer of an encoder; None for the gate.
        folder: The folder; an earlier folder of clips is replaced.
        per_cell: Maximum number of clips of each speaker and expert, and of each phoneme and
            expert, drawn at random (seed 0).
        context_ms: Milliseconds of audio before and after the phoneme.

    Returns:
        The cells that have clips: kind of the row, its name, the expert that leads.

    Raises:
        InputError: The folder exists and is not a folder of clips.
    """
    check_replaceable(folder)
    _, experts = run.recognizer.routed_layer(layer)
    counts, query = SearchCounts(), ClipQuery()
    each = find_clips(run.recognizer, examples, query, layer, counts)
    matches = list(chain.from_iterable(each))
    clips, cells = draw_of_cells(matches, experts, per_cell)
    found = _Found(run, examples, counts, layer, query, len(matches))
    sampling = f"up to {per_cell} of each cell of the report, drawn at random"
    found.write(folder, clips, corpus, split, context_ms, sampling)
    return cells


@dataclass(frozen=True)
class _Found:
    """Where clips were found.

    Attributes:
        run: The run.
        examples: The examples that were searched.
        counts: Number of phonemes searched.
        layer: The sparse layer; None for the gate.
        query: Search criteria.
        total: Number of clips found.
    """

    run: LoadedRun
    examples: Sequence[Example]
    counts: SearchCounts
    layer: str | None
    query: ClipQuery
    total: int

    def write(
        self,
        folder: Path,
        clips: list[Clip],
        corpus: PreparedCorpus,
        split: str,
        context_ms: float,
        sampling: str = EVENLY,
        progress: bool = False,
    ) -> tuple[list[Clip], dict[str, str]]:
        """Writes the folder of some of them; returns these with times in recordings, and facts."""
        run, cuts = self.run, corpus.cuts(split)
        tokens = run.recipe.task.kind == "classify"
        if tokens:
            clips = times_in_recordings(clips, cuts)
        facts = {"run": run.folder.resolve().name, "corpus": corpus.name, "split": split}
        if self.layer is not None:
            facts["layer"] = self.layer
        _, experts = run.recognizer.routed_layer(self.layer)
        notes = _notes(run, self.examples, self.counts, context_ms)
        shown = Shown(experts, self.query, facts, self.total, notes, sampling)
        write_clips(folder, clips, cuts, shown, context_ms, tokens, progress)
        return clips, facts


def _check_names(
    run: LoadedRun, corpus: PreparedCorpus, query: ClipQuery, experts: tuple[str, ...]
) -> None:
    phonemes = run.recognizer.phonemes
    known_phonemes = {*phonemes.symbols, *phonemes.spell(corpus.phonemes)}
    for kind, name, place, known in (
        ("speaker", query.speaker, f"corpus {corpus.name}", corpus.speakers),
        ("expert", query.expert, str(run.name), experts),
        ("phoneme", query.phoneme, f"corpus {corpus.name}", tuple(known_phonemes)),
    ):
        if name is not None and name not in known:
            raise ArgumentError(kind, f"{place} has no {kind} {name!r}{suggest(name, known)}")


def _notes(
    run: LoadedRun, examples: Sequence[Example], counts: SearchCounts, context_ms: float
) -> list[str]:
    """Sentences about times and audio."""
    notes = [f"Each clip has {context_ms:g} ms before and after the phoneme."]
    timed = sum(bool(example.spans) for example in examples)
    if timed:
        where = (
            "" if timed == len(examples) else " where available, otherwise from forced alignment"
        )
        notes.append(f"Phoneme times are from the corpus{where}.")
    else:
        notes.append("The corpus has no phoneme times; these are from forced alignment.")
    if counts.without_rows:
        notes.append(
            f"{counts.without_rows:,} of {counts.phonemes:,} phonemes are shorter than a frame and "
            "therefore in no cell."
        )
    if len(run.recognizer.routed_layer(None)[1]) == 1:
        notes.append("The run has one expert, which leads everywhere.")
    if run.recipe.corpus.snr_db is not None:
        notes.append(
            "The audio is the original recording; noise is added to the model's input at "
            f"{run.recipe.corpus.snr_db:g} dB."
        )
    return notes
