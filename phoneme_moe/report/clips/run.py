"""A folder of clips: the page, a table for programs, and a sound file for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.progress import track
from phoneme_moe.report.clips.find import Cell, Clip, Looked, draw_clips, find_clips
from phoneme_moe.report.clips.folder import (
    PAGE,
    SOUNDS,
    TABLE,
    check_replaceable,
    table_text,
    whole_folder,
)
from phoneme_moe.report.clips.page import Card, render_clips
from phoneme_moe.report.clips.sounds import cut_sounds, in_recordings
from phoneme_moe.run_folder import LoadedRun


@dataclass(frozen=True)
class RunClips:
    """A written folder of clips.

    Attributes:
        folder: Where it lies.
        clips: What is in it, in its order.
        found: How many clips are behind the cell.
        looked: What was looked through.
        cell: Which clips were asked for.
        facts: What they are of: run, corpus, split and so on.
    """

    folder: Path
    clips: tuple[Clip, ...]
    found: int
    looked: Looked
    cell: Cell
    facts: dict[str, str]

    @property
    def page(self) -> Path:
        """The page to open."""
        return self.folder / PAGE

    @property
    def summary(self) -> list[str]:
        """What was written, for people, in two lines."""
        count = f"{len(self.clips):,}"
        if self.found > len(self.clips):
            count += f" of {self.found:,}"
        speakers = len({clip.speaker for clip in self.clips})
        phonemes = len({clip.phoneme for clip in self.clips})
        wrong = sum(clip.wrong for clip in self.clips)
        return [
            f"{' '.join(self.facts.values())}: {self.cell}",
            f"clips {count}, speakers {speakers:,}, phonemes {phonemes:,}, wrong {wrong:,}",
        ]


def clips_of_run(
    run: LoadedRun,
    cell: Cell,
    split: str = "test",
    out: Path | None = None,
    corpus_name: str | None = None,
    layer: str | None = None,
    limit: int = 200,
    context_ms: float = 100.0,
    progress: bool = False,
) -> RunClips:
    """Finds the clips behind a cell of the run's report and writes a page that plays them.

    Args:
        run: The run.
        cell: Which clips.
        split: ``train``, ``dev`` or ``test``.
        out: Folder to write; ``clips`` in the run folder when left out. A former folder of clips is
            replaced.
        corpus_name: Another prepared corpus than the run's own.
        layer: A sparse layer of an encoder; its last one when left out.
        limit: Clips at most; of more, a sample evenly over speakers and utterances.
        context_ms: What is heard before and after the phoneme.
        progress: Whether to show a progress bar on stderr (never when that is no terminal).

    Raises:
        InputError: The corpus is not prepared, a name is unknown, nothing is behind the cell, or
            the folder holds something else than clips. Nothing is written then.
    """
    folder = out or run.folder / "clips"
    check_replaceable(folder.resolve())
    corpus = load_corpus(corpus_name or run.recipe.corpus.name)
    layer, experts = run.recognizer.routed_layer(layer)
    _check_names(run, corpus, cell, experts)
    if cell.speaker is not None:
        speakers: tuple[str, ...] = (cell.speaker,)
    else:
        speakers = split_speakers(run.recipe, corpus, run.recognizer)
    examples = load_examples(run.recipe, corpus, split, run.recognizer, speakers)
    looked = Looked()
    each = find_clips(run.recognizer, examples, cell, layer, looked)
    found = list(
        chain.from_iterable(track(each, "looking for clips", progress, total=len(examples)))
    )
    if not found:
        what = f"{corpus.name} {split}"
        raise InputError(f"no clip of {what}: of {looked.phonemes:,} phonemes none is: {cell}")
    clips, cuts = draw_clips(found, limit), corpus.cuts(split)
    tokens = run.recipe.task.kind == "classify"
    if tokens:
        clips = in_recordings(clips, cuts)
    facts = {
        "run": run.folder.resolve().name,
        "corpus": corpus.name,
        "split": split,
        **({} if layer is None else {"layer": layer}),
    }
    with whole_folder(folder.resolve()) as inside:
        (inside / SOUNDS).mkdir()
        files = [f"{SOUNDS}/{number:04}.flac" for number in range(1, len(clips) + 1)]
        cards: dict[int, Card] = {}
        sounds = cut_sounds(clips, cuts, context_ms / 1000, tokens)
        for number, sound in track(sounds, "cutting", progress, total=len(clips)):
            sound.save(inside / files[number])
            cards[number] = Card.of(clips[number], sound, files[number], experts)
        page = render_clips(
            [cards[number] for number in range(len(clips))],
            experts,
            cell=cell,
            facts=facts,
            found=len(found),
            notes=_notes(run, examples, looked, context_ms),
        )
        (inside / PAGE).write_text(page, encoding="utf-8")
        (inside / TABLE).write_text(
            table_text(clips, files, [cards[n].offset for n in range(len(clips))], experts),
            encoding="utf-8",
            newline="",
        )
    return RunClips(folder, tuple(clips), len(found), looked, cell, facts)


def _check_names(
    run: LoadedRun, corpus: PreparedCorpus, cell: Cell, experts: tuple[str, ...]
) -> None:
    known_phonemes = {*run.recognizer.phonemes.symbols, *corpus.phonemes}
    for option, name, whose, known in (
        ("speaker", cell.speaker, f"corpus {corpus.name}", corpus.speakers),
        ("expert", cell.expert, str(run.folder), experts),
        ("phoneme", cell.phoneme, f"corpus {corpus.name}", tuple(known_phonemes)),
    ):
        if name is not None and name not in known:
            raise InputError(f"--{option}: {whose} has no {option} {name!r}{suggest(name, known)}")


def _notes(
    run: LoadedRun, examples: Sequence[Example], looked: Looked, context_ms: float
) -> list[str]:
    """What a listener should know."""
    notes = [f"Each clip has {context_ms:g} ms before and after the phoneme."]
    timed = sum(bool(example.spans) for example in examples)
    if timed:
        where = "" if timed == len(examples) else " where it has them, else of the model"
        notes.append(f"Phoneme times are those of the corpus{where}.")
    else:
        notes.append("The corpus has no phoneme times: these are the model’s own forced alignment.")
    if looked.without_rows:
        notes.append(
            f"{looked.without_rows:,} of {looked.phonemes:,} phonemes have no frame of their own "
            "and are in no cell."
        )
    if len(run.recognizer.routed_layer(None)[1]) == 1:
        notes.append("The run has one expert, which leads everywhere.")
    if run.recipe.corpus.snr_db is not None:
        notes.append(
            f"Here are the recordings as they are; the model heard them in noise, at "
            f"{run.recipe.corpus.snr_db:g} dB."
        )
    return notes
